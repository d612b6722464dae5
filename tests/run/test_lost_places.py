"""A folder that cannot be written, and a disk that is taken away or becomes read-only while a run trains."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import short_runs
from short_runs import QUICK, save_model_and_images

from tetrad.errors import TetradError
from tetrad.formats.weight_files import read_weight_file
from tetrad.run.events import Event, Finished, Note, Trained
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.resume.resume import resume
from tetrad.run.status import read_status
from tetrad.run.train import train
from tetrad.settings import Recipe

DEFAULT = QUICK | {"train.steps": 4, "save.every": 3, "sample.every": 2, "sample.steps": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model_and_images(tmp_path_factory.mktemp("places"), 1)


@pytest.fixture(autouse=True)
def quick(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(place / "cache"))
    monkeypatch.chdir(place)
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: steps_left > 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def mount(*arguments: str) -> None:
    if subprocess.run(["mount", *arguments], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")


@dataclass(frozen=True)
class Disk:
    """A disk of its own, at `path`."""

    path: Path

    def make_read_only(self) -> None:
        """Also while files on it are open for writing, as the system does after an error of the disk."""
        mount("--bind", f"{self.path}-read-only", str(self.path))

    def make_writable(self) -> None:
        subprocess.run(["umount", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path, read_only = tmp_path / "disk", tmp_path / "disk-read-only"
    path.mkdir()
    read_only.mkdir()
    mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(path))
    mount("--bind", str(path), str(read_only))
    mount("-o", "remount,bind,ro", str(read_only))
    yield Disk(path)
    for each in (path, path, read_only):
        subprocess.run(["umount", "-l", str(each)], capture_output=True)


def make_recipe(out: Path, **settings: Any) -> Recipe:
    return short_runs.make_recipe(out, DEFAULT | settings)


def train_until(recipe: Recipe, step: int, then: Any) -> list[Event]:
    """The events of a run, during which something happens after a step."""
    seen: list[Event] = []
    for event in train(recipe):
        seen.append(event)
        if isinstance(event, Trained) and event.step == step:
            then()
    return seen


def test_a_read_only_folder_ends_a_run_before_it_begins(disk: Disk) -> None:
    disk.make_read_only()
    with pytest.raises(TetradError) as caught:
        list(train(make_recipe(disk.path / "runs")))
    assert caught.value.code == "E4202" and caught.value.exit_code == 4 and "--out" in str(caught.value)
    assert not list(disk.path.iterdir())


def test_a_disk_that_becomes_read_only_keeps_its_points_and_does_not_cost_the_weights(disk: Disk) -> None:
    seen: list[Note] = []
    with pytest.raises(TetradError) as caught:
        for event in train(make_recipe(disk.path / "runs", **{"save.every": 0})):
            seen += [event] if isinstance(event, Note) and event.code.startswith("W42") else []
            if isinstance(event, Trained) and event.step == 3:
                disk.make_read_only()
    assert caught.value.code == "E4202"
    rescued = read_weight_file(caught.value.sentence.values["path"]).tensors
    assert {note.code for note in seen} >= {"W4201", "W4203"} and "Read-only" in str(seen[0].message)
    folder = disk.path / "runs" / "zkr"
    assert read_status(folder).resume_step == 2
    disk.make_writable()
    finished = list(resume(folder))[-1]
    assert isinstance(finished, Finished)
    result = read_weight_file(finished.path).tensors
    assert result.keys() == rescued.keys() and all(rescued[name].equal(tensor) for name, tensor in result.items())


def test_a_disk_that_is_taken_away_does_not_cost_the_weights(disk: Disk) -> None:
    """The folder below it is used instead, and the run says so."""

    def take_away() -> None:
        subprocess.run(["umount", "-l", str(disk.path)], check=True)

    seen = train_until(make_recipe(disk.path / "runs"), 2, take_away)
    codes = [event.code for event in seen if isinstance(event, Note) and event.code.startswith("W42")]
    assert codes == ["W4207"] and isinstance(seen[-1], Finished)
    assert seen[-1].path.exists() and read_weight_file(seen[-1].path).tensors


def test_a_run_whose_folder_is_read_only_cannot_be_resumed_and_says_so(disk: Disk) -> None:
    events = train(make_recipe(disk.path / "runs"))
    for event in events:
        if isinstance(event, Trained) and event.step == 3:
            break
    events.close()  # type: ignore[attr-defined]
    folder = disk.path / "runs" / "zkr"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    disk.make_read_only()
    with pytest.raises(TetradError) as caught:
        list(resume(folder))
    assert caught.value.code == "E4202" and "Read-only" in str(caught.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
