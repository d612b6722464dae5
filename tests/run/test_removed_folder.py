"""Whatever happens to the folder of a run while it trains, what it has learned is saved."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import short_runs
from short_runs import QUICK, save_model_and_images

from tetrad.errors import TetradError
from tetrad.formats.weight_files import read_weight_file
from tetrad.run.events import Event, Finished, Note, Trained
from tetrad.run.heartbeat import Heartbeat, read_beat
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.resume.resume import resume
from tetrad.run.status import read_status
from tetrad.run.train import train
from tetrad.settings import Recipe

STEPS = 4


DEFAULT = QUICK | {"train.steps": STEPS, "train.batch_size": 1, "save.every": 3}
DEFAULT |= {"sample.every": 2, "sample.steps": 1, "sample.before_training": False}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model_and_images(tmp_path_factory.mktemp("removed"), 1)


@pytest.fixture(autouse=True)
def point_after_every_step(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(place / "cache"))
    monkeypatch.chdir(place)
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: steps_left > 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def make_recipe(out: Path, **settings: Any) -> Recipe:
    return short_runs.make_recipe(out, DEFAULT | settings)


def codes(events: list[Event]) -> list[str]:
    return [event.code for event in events if isinstance(event, Note) and event.code.startswith("W42")]


def assert_same_tensors(path: Path, other: Path) -> None:
    ours, theirs = read_weight_file(path).tensors, read_weight_file(other).tensors
    assert ours.keys() == theirs.keys() and all(ours[name].equal(tensor) for name, tensor in theirs.items())


def test_a_removed_folder_is_made_again_and_the_run_can_still_be_resumed(tmp_path: Path) -> None:
    whole = list(train(make_recipe(tmp_path / "whole")))[-1]
    seen: list[Event] = []
    folder = tmp_path / "out" / "zkr"
    for event in train(make_recipe(tmp_path / "out"), lambda: any(is_step(event, 3) for event in seen)):
        seen.append(event)
        if is_step(event, 1):
            shutil.rmtree(tmp_path / "out")
    assert codes(seen) == ["W4207"]
    status = read_status(folder)
    assert (status.state, status.resume_step) == ("interrupted", 3)
    finished = list(resume(folder))[-1]
    assert isinstance(finished, Finished) and isinstance(whole, Finished) and finished.complete
    assert_same_tensors(finished.path, whole.path)


def is_step(event: Event, step: int) -> bool:
    return isinstance(event, Trained) and event.step == step


def test_a_folder_that_cannot_be_made_again_does_not_cost_the_weights(tmp_path: Path) -> None:
    whole = list(train(make_recipe(tmp_path / "whole", **{"save.every": 0})))[-1]
    seen: list[Event] = []
    with pytest.raises(TetradError, match="E4202") as caught:
        for event in train(make_recipe(tmp_path / "out", **{"save.every": 0})):
            seen.append(event)
            if is_step(event, 1):
                shutil.rmtree(tmp_path / "out")
                (tmp_path / "out").write_text("no folder any more")
    assert isinstance(whole, Finished) and is_step([event for event in seen if isinstance(event, Trained)][-1], STEPS)
    assert sorted(codes(seen)) == ["W4201", "W4201", "W4203", "W4205", "W4207"]  # one for each log
    rescued = caught.value.sentence.values["path"]
    assert rescued.is_relative_to(tmp_path) and str(rescued) in caught.value.message
    assert_same_tensors(rescued, whole.path)


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 1e8])
def test_a_jump_of_the_clock_does_not_make_a_running_process_look_ended(
    jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux computes both times from the clock: when the machine started, and with it when a process did."""
    heartbeat = Heartbeat(tmp_path)
    heartbeat.beat()
    now, boot, created = time.time, psutil.boot_time, psutil.Process.create_time
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    monkeypatch.setattr(psutil, "boot_time", lambda: boot() + jump)
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + jump)
    heartbeat.beat()  # it beats on, with the new time
    beat = read_beat(tmp_path)
    assert beat is not None and beat.is_alive()


def test_a_process_of_before_the_machine_started_again_is_not_alive(tmp_path: Path) -> None:
    Heartbeat(tmp_path).beat()
    record = json.loads((tmp_path / "heartbeat").read_text())
    (tmp_path / "heartbeat").write_text(json.dumps(record | {"time": psutil.boot_time() - 60}))
    beat = read_beat(tmp_path)
    assert beat is not None and not beat.is_alive()
