"""What to look at before training anything, as a person types it."""

import json
import shlex
from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image

from tetrad import library
from tetrad.cli import advice
from tetrad.methods import METHODS
from tetrad.training.dry_step import DryStep
from tetrad.training.speed import Machine


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("advice") / "tiny.safetensors"
    library.save_checkpoint(path, tiny.model(), tiny.weights().metadata)
    return str(path)


@pytest.fixture
def photos(tmp_path: Path) -> str:
    folder = tmp_path / "5_zkr dog"
    folder.mkdir()
    for number in range(2):
        Image.new("RGB", (64, 64)).save(folder / f"{number}.png")
    return str(tmp_path)


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of a known size, so that nothing has to be counted and measured."""
    step = DryStep(10**9, 10**8, (torch.Size([1000, 1000]),), 10**7, 10**6, 10**12)
    monkeypatch.setattr("tetrad.recommend.dry_step", lambda *given: step)
    monkeypatch.setattr("tetrad.recommend.measured", lambda *given: Machine(1e9, 1e9))


def test_all_four_are_told_and_the_command_has_the_data_sets_own_words(
    model: str, photos: str, capsys: pytest.CaptureFixture[str]
) -> None:
    advice.recommend(photos, "object", model, "64GB", as_json=True)
    *offers, best = map(json.loads, capsys.readouterr().out.splitlines())
    assert [offer["kind"] for offer in offers] == list(METHODS)
    words = shlex.split(best["command"])
    assert words[:4] == ["tetrad", "train", best["recommended"], photos]
    assert words[words.index("--word") + 1] == "zkr" and words[words.index("--class-word") + 1] == "dog"


def test_the_table_has_a_row_for_everything_one_decides_by(
    model: str, photos: str, capsys: pytest.CaptureFixture[str]
) -> None:
    advice.recommend(photos, "style", model, "64GB")
    told = capsys.readouterr()
    for row in ("steps", "learning rate", "vectors", "time", "memory", "file", "good at", "bad at", *METHODS):
        assert row in told.out
    advice.recommend(photos, "style", model, "4MB")
    assert "…" not in capsys.readouterr().out  # nothing to be copied is cut
    assert "2 pictures" in told.err and "to fit 64.0 GB" in told.err
    assert told.out.splitlines()[-1].startswith("tetrad train lora") and "--template style" in told.out


@pytest.mark.parametrize(
    "seconds,said", [(30, "30 seconds"), (600, "10 minutes"), (32739, "9 hours"), (2_835_924, "33 days")]
)
def test_a_time_is_said_as_one_plans_by_it(seconds: float, said: str) -> None:
    assert advice.roughly(seconds) == said


def test_a_probe_draws_one_sheet_and_says_what_it_means(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "probe.png"
    for _ in range(2):
        advice.probe("a photo of a fox", model, steps=1, out=path)
    told = capsys.readouterr()
    first, second = map(Path, told.out.splitlines())
    assert (
        first == path and second != path and first.read_bytes()[:8] == second.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    )
    assert "train nothing" in told.err
