"""Files that people share say what a model and its images are called, but not where they were."""

import json
from pathlib import Path

import pytest
import short_runs
from PIL import Image

from tetrad.formats.weight_files import read_weight_file
from tetrad.run.events import Finished
from tetrad.run.train import train


@pytest.mark.parametrize("file_format,kind", [("pt", "textual-inversion"), ("kohya", "lora")])
def test_no_file_of_a_run_that_is_shared_has_a_path(
    file_format: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model, the VAE, the images and the output are given by whole paths."""
    home = tmp_path / "home-of-anna"
    home.mkdir()
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    short_runs.save_model_and_images(home, 2)
    settings = {
        "model": str(home / "tiny.safetensors"),
        "data.images": str(home / "images"),
        "vae": str(home / "tiny.safetensors"),
        "method.kind": kind,
        "train.steps": 1,
        "sample.steps": 1,
        "sample.prompts": ["zkr"],
    }
    *_, last = train(short_runs.make_recipe(home / "runs", short_runs.QUICK | settings | {"save.format": file_format}))
    assert isinstance(last, Finished) and last.path
    metadata = read_weight_file(last.path).metadata
    assert "home-of-anna" not in json.dumps(metadata) and str(tmp_path) not in json.dumps(metadata)
    assert metadata.get("ss_sd_model_name", metadata.get("sd_checkpoint_name", "")).startswith("tiny")
    [preview, *_more] = sorted((last.folder / "samples").glob("*.png"))
    with Image.open(preview) as image:
        assert "home-of-anna" not in str(image.info)
