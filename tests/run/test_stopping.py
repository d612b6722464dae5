"""A program that is told to end is quick about it in every phase, and leaves a run that can be resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest
import short_runs
import tiny
from PIL import Image

from tetrad.run.events import Event, Finished, Note, Phase, Progress, Sampled, Saved, Trained
from tetrad.run.resume.resume import resume
from tetrad.run.train import train
from tetrad.run.watch import StoppedBeforeStart
from tetrad.settings import Recipe

SECONDS = 25  # that a run may take to end
IMAGES = 120
START = {"model": "tiny.safetensors", "data.images": "images", "data.trigger_word": "zkr", "data.resolution": 64}
START |= {"data.class_word": "cat", "train.steps": 2, "train.batch_size": 1, "sample.every": 1, "sample.steps": 2}
START |= {"method.kind": "lora", "sample.prompts": ["a zkr"]}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stopping")
    tiny.save_shallow_checkpoint(path / "tiny.safetensors")
    (path / "images").mkdir()
    rng = np.random.default_rng(1)
    for number in range(IMAGES):
        Image.fromarray(rng.integers(0, 256, (320, 320, 3), np.uint8)).save(path / "images" / f"{number}.png")
    return path


@pytest.fixture(autouse=True)
def own_cache(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(place)


def make_recipe(out: Path, **settings: Any) -> Recipe:
    return short_runs.make_recipe(out, START | settings)


def end_in_phase(phase: str, out: Path, **settings: Any) -> tuple[int, float]:
    """Start a program, send it SIGTERM in a phase, and return its exit code and the seconds that it took to end."""
    values = START | settings | {"save.out": str(out)}
    given = [
        f"--set={key}={json.dumps(value)}" for key, value in values.items() if key not in ("data.images", "method.kind")
    ]
    command = commands.Command("train", "lora", "images", "--json", *given)
    records = map(json.loads, command.lines())
    assert any(record["event"] == "phase" and record["name"]["text"] == phase for record in records)
    command.send_signal(signal.SIGTERM)
    start = time.monotonic()
    return command.wait().returncode, time.monotonic() - start


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM for another program")
@pytest.mark.parametrize(
    "phase,settings,code",
    [
        ("reading the images", {}, 130),
        ("generating class images", {"data.class_images.count": 40}, 75),
        ("encoding the images", {}, 75),
        ("generating previews", {"sample.steps": 150}, 75),
    ],
)
def test_a_program_that_is_told_to_end_ends_in_every_phase(
    phase: str, settings: dict[str, Any], code: int, tmp_path: Path, record_property: Any
) -> None:
    found, seconds = end_in_phase(phase, tmp_path / "runs", **settings)
    record_property("seconds", round(seconds, 2))
    print(f"{phase}: {seconds:.2f} s")
    assert found == code and seconds < SECONDS
    folder = tmp_path / "runs" / "zkr"
    if code == 130:
        assert not folder.exists()
        return
    assert not (folder / "metrics.jsonl").exists()
    # Few class images and steps are enough for the rest, and the settings of previews decide nothing.
    text = (folder / "recipe.toml").read_text().replace("count = 40", "count = 1").replace("steps = 150", "steps = 1")
    (folder / "recipe.toml").write_text(text)
    *_events, finished = resume(folder)
    assert isinstance(finished, Finished) and finished.complete and finished.path.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGHUP and no head")
def test_a_run_goes_on_without_a_reader_and_without_a_terminal(tmp_path: Path) -> None:
    given = [f"--set={key}={json.dumps(value)}" for key, value in START.items() if not key.endswith(("images", "kind"))]
    few = str(make_few_images(tmp_path))
    train = [sys.executable, "-m", "tetrad", "train", "lora", few, "--json", "--out", str(tmp_path / "runs"), *given]
    trainer = subprocess.Popen(train, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    reader = subprocess.Popen(["head", "-1"], stdin=trainer.stdout, stdout=subprocess.PIPE, text=True)
    assert trainer.stdout and trainer.stderr
    trainer.stdout.close()  # only `head` has it now
    line, _err = reader.communicate(timeout=60)
    trainer.send_signal(signal.SIGHUP)
    err = trainer.stderr.read()
    trainer.stderr.close()
    assert trainer.wait(timeout=60) == 0 and "Traceback" not in err
    assert "the output cannot be written any more" in err and json.loads(line)["event"] == "phase"
    records = [json.loads(line) for line in (tmp_path / "runs/zkr/events.jsonl").read_text().splitlines()]
    assert records[-1]["event"] == "finished" and records[-1]["complete"] is True


def stop_at(recipe: Recipe | Path, is_last: Any) -> list[Event]:
    """The events of a run that is told to stop by the first event that `is_last` is true of."""
    seen: list[Event] = []

    def stop() -> bool:
        return any(map(is_last, seen))

    events: Iterator[Event] = resume(recipe, stop) if isinstance(recipe, Path) else train(recipe, stop)
    for event in events:
        seen.append(event)
    return seen


def is_phase(name: str) -> Any:
    return lambda event: isinstance(event, Phase) and str(event.name) == name


def test_a_stop_during_the_scan_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(StoppedBeforeStart):
        stop_at(make_recipe(tmp_path / "out"), lambda event: isinstance(event, Progress))
    assert not (tmp_path / "out").exists()


def test_previews_that_a_stop_cut_short_are_made_again(tmp_path: Path) -> None:
    """No further step is trained, and the resumed run has the same previews as one that was not stopped."""
    settings = {"data.images": str(make_few_images(tmp_path)), "train.steps": 4, "sample.before_training": False}
    whole = list(train(make_recipe(tmp_path / "whole", **settings)))[-1]
    previews = is_phase("generating previews")
    seen = stop_at(make_recipe(tmp_path / "out", **settings), previews)
    assert [event.step for event in seen if isinstance(event, Trained)] == [1]
    assert not any(isinstance(event, Sampled) for event in seen)
    again = stop_at(tmp_path / "out" / "zkr", previews)
    assert not any(isinstance(event, Trained | Saved) for event in again)
    assert isinstance(again[-1], Note) and again[-1].code == "W7501" and "next step" in str(again[-1].message)
    finished = list(resume(tmp_path / "out" / "zkr"))[-1]
    assert isinstance(finished, Finished) and isinstance(whole, Finished)
    theirs = {path.name: path.read_bytes() for path in (whole.folder / "samples").iterdir()}
    assert {path.name: path.read_bytes() for path in (finished.folder / "samples").iterdir()} == theirs
    assert len(theirs) == 4 * 2


def make_few_images(tmp_path: Path) -> Path:
    (tmp_path / "few").mkdir()
    Image.effect_noise((64, 64), 40).convert("RGB").save(tmp_path / "few" / "0.png")
    return tmp_path / "few"
