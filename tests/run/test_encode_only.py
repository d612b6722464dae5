"""`tetrad encode` fills the cache that a run of the same recipe then reads."""

import json
import tarfile
from pathlib import Path

import pytest
from short_runs import QUICK, make_recipe, save_model_and_images

from tetrad.cli import encode
from tetrad.data.latent_cache import LatentCache
from tetrad.models.vae import Vae
from tetrad.run.events import Trained
from tetrad.run.train import train


def test_a_run_reads_what_was_encoded_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(save_model_and_images(tmp_path, 3))
    with tarfile.open("one.tar", "w") as archive:
        archive.add("images", "images")
    options = "--model tiny.safetensors --trigger-word zkr --set data.resolution=64 --json"
    encode.app(["lora", "one.tar", *options.split()], standalone_mode=False)
    notes = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any("images are encoded in" in str(note) for note in notes)
    assert not Path("runs").exists() and list((tmp_path / "cache" / "records").iterdir())
    encoded = Vae.encode
    monkeypatch.setattr(Vae, "encode", lambda *given: pytest.fail("an image was encoded again") or encoded(*given))
    settings = QUICK | {"data.images": "one.tar", "train.steps": 2, "sample.every": -1, "judge.scores": "off"}
    assert sum(isinstance(event, Trained) for event in train(make_recipe(tmp_path / "out", settings))) == 2
    assert LatentCache(tmp_path / "cache").warnings == []
