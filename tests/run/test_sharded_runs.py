"""A DreamBooth run whose processes divide weights, gradients and optimizer state: the files of a run in one process."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from child_processes import use_forks
from short_runs import QUICK, make_recipe, save_model_and_images

from tetrad.errors import TetradError
from tetrad.formats.weight_files import read_weight_file
from tetrad.run.events import Finished, Note, Trained
from tetrad.run.processes.team import Team
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.resume.points import list_points, read_point, read_step
from tetrad.run.resume.resume import resume
from tetrad.run.train import train
from tetrad.settings import Recipe

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
    names = {str(path.relative_to(alone)) for path in alone.rglob("*") if path.is_file()}
    assert names == {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert_same_tensors(
        *(read_weight_file(path / "zkr.safetensors").tensors for path in (folder, alone)),
        2e-5,  # Adam makes whole steps of the last digits of tiny gradients, of 1e-5 each
    )


def assert_same_tensors(found: Any, expected: Any, tolerance: float) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].shape == tensor.shape and found[name].dtype == tensor.dtype, name
        assert float((found[name] - tensor).abs().max()) <= tolerance, name


def test_a_run_that_loses_a_process_stops_and_one_process_goes_on_with_it(
    tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving and judging on the way; the parts of a lost process are lost, so it goes on from a resume point."""
    children = use_forks(monkeypatch)
    killed_at, events = 0.0, []
    with pytest.raises(TetradError, match="a process of this run has ended") as raised:
        for event in train(recipe(tmp_path, train__processes=2, train__sharding="full")):
            events.append(event)
            if isinstance(event, Trained) and event.step == 3:
                children[0].kill()
                killed_at = time.monotonic()
    assert raised.value.code == "E8004" and time.monotonic() - killed_at < 15
    sentences = [str(event.message) for event in events if isinstance(event, Note)]
    assert any("2 processes share each update: it sees 4 images" in sentence for sentence in sentences)
    assert any("each of 2 processes holds a part" in sentence for sentence in sentences)
    assert not any("times as fast" in sentence for sentence in sentences)  # one process may not have the memory

    folder = tmp_path / "zkr"
    assert read_step(list_points(folder / "resume")[0]) == 2  # the point of step 3 needs the lost part
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
    assert_same_tensors(point.state.tensors, same.state.tensors, 2e-5)


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


class Ended:
    """A process that has ended."""

    def poll(self) -> int:
        return 1


@pytest.mark.parametrize("printed,reason", [("", None), ("Traceback\nValueError: of its own\n", "of its own")])
def test_the_error_of_another_process_is_told(printed: str, reason: str | None, tmp_path: Path) -> None:
    """It cannot send its reason, because all wait in the middle of a pass."""
    team: Any = object.__new__(Team)
    team.store, team.children = tmp_path / "store", [Ended()]
    (tmp_path / "errors-1").write_text(printed)
    error = team.find_failure()
    assert error is None if reason is None else error.code == "E8005" and reason in error.message
