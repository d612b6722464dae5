"""Files are saved before the end by steps, epochs and minutes, and only the newest of them are kept."""

from pathlib import Path
from typing import Any

import plans
import pytest

from tetrad.run.folder import RunFolder
from tetrad.run.step_files import StepFiles, list_planned_steps


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def step_files(tmp_path: Path, clock: Clock | None = None, name: str = "zkr", **settings: Any) -> StepFiles:
    """Of a run of 20 steps, with three batches in two epochs."""
    values: dict[str, Any] = {"train__steps": 20, "train__batch_size": 2, "train__gradient_accumulation": 2}
    plan = plans.plan(plans.recipe(**values | settings), plans.photos(["a zkr"] * 6))
    assert plan.train.steps_per_epoch == 1.5
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    return StepFiles(plan.save, plan.train, RunFolder(folder, name), clock or Clock())


@pytest.mark.parametrize(
    "settings,steps",
    [
        ({}, []),
        ({"save__every": 5}, [5, 10, 15]),
        ({"save__every": 20}, []),
        ({"save__every_epochs": 2}, [3, 6, 9, 12, 15, 18]),
        ({"save__every_epochs": 3}, [5, 9, 14, 18]),
        ({"save__every_epochs": 6, "save__every": 9}, [9, 18]),
        ({"save__every_epochs": 6, "save__every": 8}, [8, 9, 16, 18]),
    ],
)
def test_steps_and_epochs_say_when_a_file_is_saved(settings: dict[str, Any], steps: list[int], tmp_path: Path) -> None:
    files = step_files(tmp_path, **settings)
    assert [step for step in range(1, 21) if files.is_due(step)] == steps
    assert list(list_planned_steps(files.save, files.train)) == steps


def test_minutes_count_from_the_last_file_whatever_saved_it(tmp_path: Path) -> None:
    clock = Clock()
    files = step_files(tmp_path, clock, save__every_minutes=2, save__every=10)
    found = []
    for step in range(1, 21):
        clock.now += 31
        if files.is_due(step):
            files.note_saved()
            found.append(step)
    assert found == [4, 8, 10, 14, 18]


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ""])
def test_the_oldest_step_files_are_removed_and_nothing_else(suffix: str, tmp_path: Path) -> None:
    files = step_files(tmp_path, save__keep_last=2, name="zkr [v1]")
    folder = files.folder.path
    others = {"zkr [v1]" + suffix, "zkr [v1]-step00000001.txt", "other-step00000001.safetensors", "samples"}
    for name in (*others, *(f"zkr [v1]-step{step:08d}{suffix}" for step in (2, 9, 10))):
        if suffix or name == "samples":
            (folder / name).touch()
        else:
            (folder / name).mkdir()
            (folder / name / "model_index.json").touch()
    assert files.find(9) == folder / f"zkr [v1]-step00000009{suffix}"
    files.note_saved()
    kept = {f"zkr [v1]-step{step:08d}{suffix}" for step in (9, 10)}
    assert {path.name for path in folder.iterdir()} == others | kept
    assert files.find(2) is None


def test_all_step_files_stay_by_default(tmp_path: Path) -> None:
    files = step_files(tmp_path)
    for step in range(1, 5):
        files.folder.result_path(step).with_suffix(".safetensors").touch()
    files.note_saved()
    assert len(files.list_files()) == 4
