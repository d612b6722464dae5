"""Resume points are whole or not there: damage of any kind is found, named, and the point before it is used."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tetrad.run.resume import points
from tetrad.run.resume.points import DamagedPoint, ResumePoint, list_points, read_newest_point, read_point, write_point
from tetrad.training.state import TrainingState


def make_point(step: int) -> ResumePoint:
    tensors = {"trained.0": torch.full((3, 4), float(step)), "loss_scale": torch.tensor(2.0)}
    return ResumePoint(step, TrainingState(tensors, {"optimizer.0.step": step, "average.steps": 2}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in (1, 2, 30):
        write_point(tmp_path, make_point(step))
    return tmp_path


def test_a_point_is_read_as_it_was_written(folder: Path) -> None:
    point, damaged = read_newest_point(folder)
    assert point is not None and point.step == 30 and not damaged
    assert torch.equal(point.state.tensors["trained.0"], torch.full((3, 4), 30.0))
    assert point.state.values == {"optimizer.0.step": 30, "average.steps": 2}


def test_only_the_two_newest_points_are_kept_and_no_pickle(folder: Path) -> None:
    assert [path.name for path in list_points(folder)] == ["step-00000030", "step-00000002"]
    assert {file.suffix for file in folder.rglob("*") if file.is_file()} == {".json", ".safetensors"}


def flip_a_bit(point: Path) -> None:
    content = bytearray((point / "state.safetensors").read_bytes())
    content[-1] ^= 1
    (point / "state.safetensors").write_bytes(content)


def truncate(point: Path) -> None:
    os.truncate(point / "state.safetensors", 40)


def delete_values(point: Path) -> None:
    (point / "state.json").unlink()


def delete_manifest(point: Path) -> None:
    (point / "manifest.json").unlink()


def empty_manifest(point: Path) -> None:
    (point / "manifest.json").write_text("{}")


def change_a_value(point: Path) -> None:
    values = json.loads((point / "state.json").read_text())
    (point / "state.json").write_text(json.dumps(values | {"step": 31}))


def swap_with_the_older(point: Path) -> None:
    older = point.with_name("step-00000002")
    shutil.copy(older / "state.safetensors", point / "state.safetensors")


@pytest.mark.parametrize(
    "damage",
    [flip_a_bit, truncate, delete_values, delete_manifest, empty_manifest, change_a_value, swap_with_the_older],
)
def test_a_damaged_point_is_named_and_the_one_before_it_is_used(damage: Callable[[Path], None], folder: Path) -> None:
    damage(folder / "step-00000030")
    with pytest.raises(DamagedPoint):
        read_point(folder / "step-00000030")
    point, damaged = read_newest_point(folder)
    assert point is not None and point.step == 2
    assert [path.name for path, _reason in damaged] == ["step-00000030"] and str(damaged[0][1])


def test_a_point_that_could_not_be_completed_is_no_point(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(points, "_flush", fail)
    with pytest.raises(OSError):
        write_point(folder, make_point(40))
    assert [path.name for path in list_points(folder)] == ["step-00000030", "step-00000002"]
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000002", "step-00000030"]


def test_a_point_is_written_over_a_damaged_one_of_the_same_step(folder: Path) -> None:
    truncate(folder / "step-00000030")
    write_point(folder, make_point(30))
    assert read_point(folder / "step-00000030").step == 30
