"""Tests of the fourth family, run by `test_fourth_family` in their own process."""

from pathlib import Path

import pytest
import torch
import wide
from PIL import Image

from tetrad import library
from tetrad.formats import ldm, weight_files
from tetrad.generation.pipeline import Pipeline
from tetrad.generation.request import Request
from tetrad.methods import METHODS
from tetrad.run.events import Finished, Note, Sampled
from tetrad.run.train import train
from tetrad.settings import Data, Recipe, Sample, Save, Train
from tetrad.settings.learning_rate import parse_learning_rate


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wide") / "wide.safetensors"
    weights = wide.model().weights()
    weight_files.write_safetensors(path, ldm.encode(weights, wide.Wide.single_file), weights.metadata)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number, color in enumerate(("red", "blue")):
        Image.new("RGB", (80, 80), color).save(folder / f"{number}.png")
    return folder


def test_its_file_is_recognized_and_loaded(checkpoint: Path) -> None:
    model = library.load_model(str(checkpoint))
    assert (model.family, model.latent_channels, model.vae.channels) == ("wide", 16, 16)
    mean, std = model.vae.encode(torch.rand(1, 3, 64, 64))
    assert mean.shape == std.shape == (1, 16, 8, 8)


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_trains_it_and_shows_previews(kind: str, checkpoint: Path, images: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        model=str(checkpoint),
        data=Data(images=str(images), trigger_word="zkr", resolution=64),
        method=METHODS[kind](),
        train=Train(steps=2, batch_size=1, learning_rate=parse_learning_rate("1e-3")),
        sample=Sample(prompts=("a zkr",), every=2, steps=2, before_training=False),
        save=Save(out=str(tmp_path)),
    )
    events = list(train(recipe))
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.complete
    assert any("Wide Diffusion" in str(event.message) for event in events if isinstance(event, Note))
    shown = [event for event in events if isinstance(event, Sampled) and event.prompt]
    with Image.open(shown[0].path) as preview:
        assert preview.size == (64, 64)


@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "UniPC"])
def test_it_generates(sampler: str, checkpoint: Path) -> None:
    pipeline = Pipeline(str(checkpoint))
    request = Request("a cat", seed=1, steps=3, width=64, height=64, sampler=sampler)
    first, again = (next(iter(pipeline.generate([request]))).image for _ in range(2))
    assert first.size == (64, 64) and first.tobytes() == again.tobytes()
