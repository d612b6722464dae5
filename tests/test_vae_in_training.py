"""Whose latents a run trains on: the checkpoint's own unless another is named, and which one is said."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import vaes
from PIL import Image

from tetrad import library, run
from tetrad.errors import TetradError
from tetrad.formats import files, ldm
from tetrad.methods.lora import Lora
from tetrad.recipe import Data, Recipe, Sample, Save, Train
from tetrad.training.events import Event, Finished, Note
from tetrad.training.loop import Step


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A web UI's folder with a model, the same without its VAE, another VAE in the VAE folder, and two pictures."""
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    models, folder = tmp_path / "models" / "Stable-diffusion", tmp_path / "models" / "VAE"
    for each in (models, folder, tmp_path / "images"):
        each.mkdir(parents=True)
    about = tiny.weights().metadata
    whole = ldm.encode(tiny.weights())
    files.write(models / "cat.safetensors", whole, about)
    bare = {name: tensor for name, tensor in whole.items() if not name.startswith(ldm.VAE)}
    files.write(models / "bare.safetensors", bare, about)
    own = {name: tensor for name, tensor in tiny.weights().tensors.items() if name.startswith("vae.")}
    library.save_vae(folder / "warm.safetensors", vaes.Weights("vae", own), about)
    for number in range(2):
        Image.effect_noise((64, 64), 40 + number).convert("RGB").save(tmp_path / "images" / f"{number}.png")
    return tmp_path


def trained(place: Path, model: str, vae: str = "", sample: Sample | None = None) -> tuple[str, dict[str, str]]:
    """One step; what the run said, and what its file says."""
    asked = Recipe(
        model=str(place / "models" / "Stable-diffusion" / model),
        vae=vae,
        data=Data(images=str(place / "images"), word="zkr", resolution=64),
        method=Lora(rank=1, text_encoder=False),
        sample=sample or Sample(every=-1),
        save=Save(out=str(place / "out"), name="zkr"),
        train=Train(steps=1, learning_rate=1e-3, batch_size=1, schedule="constant"),
    )
    told: list[Event] = list(run.train(asked))
    assert isinstance(told[-1], Finished)
    return "\n".join(event.text for event in told if isinstance(event, Note)), files.metadata(told[-1].path)


def test_the_checkpoints_own_makes_the_latents_and_a_mounted_one_is_left_out(place: Path) -> None:
    said, about = trained(place, "cat.safetensors")
    assert "latents are made by the VAE of cat.safetensors; no VAE is trained" in said and "of training" not in said
    assert "ss_vae_name" not in about
    (place / "models" / "VAE" / "warm.safetensors").rename(place / "models" / "VAE" / "cat.vae.safetensors")
    said, _ = trained(place, "cat.safetensors")
    assert "made by the VAE of cat.safetensors" in said and "cat.vae.safetensors draws cat.safetensors's" in said


def test_one_that_is_named_makes_them_and_the_file_says_which(place: Path) -> None:
    said, about = trained(place, "cat.safetensors", "warm")
    assert "latents are made by the VAE of warm.safetensors; no VAE is trained" in said
    whole = files.file_hash(place / "models" / "VAE" / "warm.safetensors")
    assert about["ss_vae_name"] == "warm.safetensors" and about["ss_new_vae_hash"] == whole
    said, _ = trained(place, "cat.safetensors", "None")
    assert "made by the VAE of cat.safetensors" in said
    with pytest.raises(TetradError, match="no VAE called warmer; the nearest are warm"):
        trained(place, "cat.safetensors", "warmer")


def test_a_checkpoint_without_one_is_given_the_one_that_is_there(place: Path) -> None:
    with pytest.raises(TetradError, match="neither do pictures become latents") as caught:
        trained(place, "bare.safetensors")
    assert caught.value.code == "E5201"
    (place / "models" / "VAE" / "warm.safetensors").rename(place / "models" / "VAE" / "bare.safetensors")
    drawn = Sample(every=1, steps=1, prompts=("zkr",))
    said, about = trained(place, "bare.safetensors", sample=drawn)
    assert "made by the VAE of bare.safetensors" in said and about["ss_vae_name"] == "bare.safetensors"
    assert [path.name for path in (place / "out").glob("*/samples/*-00.png")]


def test_it_is_out_of_memory_once_latents_and_previews_are_made(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    awake = []
    real = run.steps

    def watched(each: run.Run) -> Iterator[Step]:
        for done in real(each):
            awake.append(each.model.vae._network is not None)
            yield done

    monkeypatch.setattr(run, "steps", watched)
    sample = Sample(every=1, steps=1, prompts=("zkr",), first=True)
    trained(place, "cat.safetensors", sample=sample)
    assert awake == [False] and list((place / "out").glob("*/samples/*-00.png"))
