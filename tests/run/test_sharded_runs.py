"""A DreamBooth run whose processes divide weights, gradients and optimizer state: the files of a run in one process."""

import json
import os
import signal
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import child_processes
import pytest
from child_processes import Child, use_forks
from short_runs import QUICK, make_recipe, save_model_and_images

from tetrad.errors import TetradError
from tetrad.formats.weight_files import read_weight_file
from tetrad.run.events import Finished, Note, Trained
from tetrad.run.processes import team
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.resume.points import list_points, read_point, read_step
from tetrad.run.resume.resume import resume
from tetrad.run.train import train
from tetrad.settings import Recipe
from tetrad.training.shards import Shards

FAST = QUICK | {
    "method.kind": "dreambooth",
    "train.steps": 4,
    "train.learning_rate": 1e-5,
    "train.batch_size": 2,
    "train.gradient_accumulation": 2,
    "train.max_grad_norm": 0.01,
    "train.ema": 0.9,
    "sample.every": 4,
    "sample.steps": 1,
    "sample.before_training": False,
    "judge.scores": "on",
    "save.every": 2,
    "save.precision": "fp32",
    "save.keep_resume": True,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model_and_images(tmp_path_factory.mktemp("place"), 3)


@pytest.fixture(autouse=True)
def working_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("TETRAD_CACHE", str(place / "cache"))
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: True)


def recipe(out: Path, **changes: Any) -> Recipe:
    return make_recipe(out, FAST | {key.replace("__", "."): value for key, value in changes.items()})


@pytest.fixture(scope="module")
def alone(place: Path) -> Path:
    """A run in one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("TETRAD_CACHE", str(place / "cache"))
        patch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: True)
        *_, finished = train(recipe(place / "alone"))
    assert isinstance(finished, Finished)
    return finished.folder


def assert_same_results(folder: Path, alone: Path) -> None:
    """The same losses, norms, scores and files, but for rounding."""
    found, expected = (
        [json.loads(line) for line in (path / "metrics.jsonl").read_text("utf-8").splitlines()]
        for path in (folder, alone)
    )
    for name in ("step", "loss", "grad_norm"):
        assert [each[name] for each in found] == pytest.approx([each[name] for each in expected], rel=1e-5)
    assert list_files(folder) == list_files(alone)
    assert_same_tensors(
        *(read_weight_file(path / "zkr.safetensors").tensors for path in (folder, alone)),
        2e-6,  # Adam makes steps of up to 1e-5 each of the last digits of tiny gradients
    )


def list_files(folder: Path) -> set[str]:
    """All but the resume points."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith("resume/")}


def assert_same_tensors(found: Any, expected: Any, tolerance: float) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].shape == tensor.shape and found[name].dtype == tensor.dtype, name
        assert float((found[name] - tensor).abs().max()) <= tolerance, name


def follow_until_killed(arguments: Sequence[str]) -> None:
    """Another process of a run, which is killed in the middle of the fourth update."""
    compute, updates = Shards.compute, count(1)

    def compute_or_end(self: Shards, *given: Any) -> Any:
        if next(updates) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return compute(self, *given)

    Shards.compute = compute_or_end  # type: ignore[method-assign]
    child_processes.follow(arguments)


def test_a_run_that_loses_a_process_stops_and_one_process_goes_on_with_it(
    tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving and judging on the way; the part of a lost process is lost, so it goes on from a resume point."""
    monkeypatch.setattr(team, "start_child", lambda arguments, _errors: Child(follow_until_killed, arguments))
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: steps_done == 2)
    before, sentences = 0.0, []
    with pytest.raises(TetradError, match="a process of this run has ended") as raised:
        for event in train(recipe(tmp_path, train__processes=2, train__sharding="full")):
            before = time.monotonic() if isinstance(event, Trained) else before
            sentences += [str(event.message)] if isinstance(event, Note) else []
    assert raised.value.code == "E8004" and time.monotonic() - before < 15
    assert any("2 processes share each update: it sees 4 images" in sentence for sentence in sentences)
    assert any("each of 2 processes holds a part" in sentence for sentence in sentences)
    assert not any("times as fast" in sentence for sentence in sentences)  # one process may not have the memory

    folder = tmp_path / "zkr"
    assert read_step(list_points(folder / "resume")[0]) == 2
    *_, finished = resume(folder, processes=1, sharding="none")
    assert isinstance(finished, Finished) and finished.complete
    assert_same_results(folder, alone)


def test_a_run_in_one_process_goes_on_in_two(tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights, the average, the optimizer's state and the scores are those of one process, and so are previews."""
    use_forks(monkeypatch)
    done: list[int] = []
    for event in train(recipe(tmp_path), stop=lambda: done == [1, 2]):
        if isinstance(event, Trained):
            done.append(event.step)
    folder = tmp_path / "zkr"
    *_, finished = resume(folder, processes=2, sharding="full", allow_slower=True)
    assert isinstance(finished, Finished) and finished.complete
    assert_same_results(folder, alone)
    point, same = (read_point(list_points(path / "resume")[0]) for path in (folder, alone))
    assert point.step == same.step and point.state.values.keys() == same.state.values.keys()
    assert_same_tensors(point.state.tensors, same.state.tensors, 2e-6)


@pytest.mark.parametrize(
    "changes,sentence",
    [
        ({"method__kind": "lora"}, "does not work with method.kind = lora; use dreambooth there"),
        ({"method__text_encoder": True}, "method.text_encoder = true; use false there"),
        ({"method__bf16_weights": True, "train__ema": 0.0}, "method.bf16_weights = true; use false there"),
        ({"train__optimizer": "adafactor"}, "train.optimizer = adafactor; use adamw there"),
    ],
)
def test_what_cannot_be_divided_is_refused(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(TetradError, match=sentence) as raised:
        recipe(tmp_path, train__sharding="full", **changes)
    assert raised.value.code == "E3144"


@pytest.mark.parametrize("exit_code,reason", [(1, "of its own"), (-9, "")])
def test_the_error_of_another_process_is_told(exit_code: int, reason: str, tmp_path: Path) -> None:
    """It cannot send its reason, because all wait in the middle of a pass; what is killed has none."""
    ended: Any = type("Ended", (), {"poll": lambda self: exit_code})()
    led: Any = object.__new__(team.Team)
    led.store, led.children = tmp_path / "store", [ended]
    (tmp_path / "errors-1").write_text("a warning\nValueError: of its own\n")
    error = led.find_failure()
    assert error.code == "E8005" and reason in error.message if reason else error is None
