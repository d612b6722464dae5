"""A whole model that is saved in half precision says how much of what it has learned is rounded away."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image

from tetrad.formats.weight_files import read_weight_file
from tetrad.run import rounding
from tetrad.run.events import Finished, Note
from tetrad.run.train import train
from tetrad.settings import build_recipe
from tetrad.settings.toml import put


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rounding")
    tiny.save_shallow_checkpoint(path / "tiny.safetensors")
    (path / "subject").mkdir()
    Image.effect_noise((64, 64), 40).convert("RGB").save(path / "subject" / "0.png")
    return path


def train_once(place: Path, out: Path, **settings: Any) -> tuple[Path, list[Note]]:
    values: dict[str, Any] = {}
    default = {
        "model": str(place / "tiny.safetensors"),
        "data.images": str(place / "subject"),
        "data.trigger_word": "zkr",
        "data.resolution": 64,
        "method.kind": "dreambooth",
        "train.steps": 2,
        "sample.every": -1,
        "save.out": str(out),
    }
    for key, value in (default | settings).items():
        put(values, key, value)
    events = list(train(build_recipe(values)))
    assert isinstance(events[-1], Finished)
    return events[-1].path, [event for event in events if isinstance(event, Note) and event.code == "W3173"]


def test_the_share_that_is_rounded_away_is_said(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    settings = {"train.learning_rate": "1e-4"}
    exact, none = train_once(place, tmp_path / "fp32", **settings, **{"save.precision": "fp32"})
    assert not none
    half, (note,) = train_once(place, tmp_path / "fp16", **settings, **{"save.precision": "fp16"})
    before, learned, rounded = (read_weight_file(path).tensors for path in (place / "tiny.safetensors", exact, half))
    names = [name for name in learned if name.startswith("model.diffusion_model.")]
    lost = torch.cat([(rounded[name].float() - learned[name]).flatten() for name in names]).norm()
    changed = torch.cat([(learned[name] - before[name].float()).flatten() for name in names]).norm()
    assert note.message.values["share"] == pytest.approx((lost / changed).item(), rel=1e-3)
    assert note.message.values["precision"] == "fp16" and note.message.values["share"] > 0.05


def test_nothing_is_said_where_hardly_anything_is_lost(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    _path, notes = train_once(place, tmp_path, **{"train.learning_rate": "1e-2", "save.precision": "fp16"})
    assert not notes


def test_a_base_model_that_does_not_fit_into_memory_is_not_read(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(rounding, "get_free_memory", lambda device: 1000)
    _path, notes = train_once(place, tmp_path, **{"train.learning_rate": "1e-6", "save.precision": "fp16"})
    assert not notes
