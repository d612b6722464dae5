"""Previews and files every N minutes: when they are due, also in a resumed run, and how many a plan expects."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from short_runs import QUICK, make_recipe, save_model_and_images

from tetrad.formats.weight_files import read_weight_file
from tetrad.run.events import Event, Finished, Phase, Sampled, Saved, Trained
from tetrad.run.minutes import MinuteTimer, count_timed
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.resume.resume import resume
from tetrad.run.train import train

SETTINGS = QUICK | {"train.steps": 7, "train.batch_size": 1, "sample.steps": 1, "sample.prompts": ["a zkr"]}
TIMED = SETTINGS | {"sample.every_minutes": 1, "save.every_minutes": 2}
STEP_SECONDS, START_SECONDS = 31, 1000


class Clock:
    """Each step takes 31 s, and everything before the steps a thousand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def follow(self, events: Iterator[Event], until: int = 0) -> Iterator[Event]:
        """The events; the run is left at step `until`, as if it was killed."""
        trained = False
        for event in events:
            yield event
            self.now += STEP_SECONDS if isinstance(event, Trained) else 0
            self.now += START_SECONDS if isinstance(event, Phase) and not trained else 0
            trained |= isinstance(event, Trained)
            if isinstance(event, Trained) and event.step == until:
                return


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock, prepare = Clock(), MinuteTimer.__init__
    monkeypatch.setattr(MinuteTimer, "__init__", lambda self, minutes, _given=None: prepare(self, minutes, clock))
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: steps_left > 0)
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(save_model_and_images(tmp_path, 1))
    return clock


def list_steps(events: list[Event]) -> tuple[list[int], list[int]]:
    """The steps after which previews were generated, and those after which a file was saved."""
    sheets = [event.step for event in events if isinstance(event, Sampled) and str(event.shows) == "sheet"]
    return sheets, [event.step for event in events if isinstance(event, Saved)]


def test_minutes_count_from_the_first_step_and_change_no_weight(clock: Clock, tmp_path: Path) -> None:
    timed = list(clock.follow(train(make_recipe(tmp_path / "timed", TIMED))))
    assert list_steps(timed) == ([0, 2, 4, 6, 7], [4, 7])
    plain = list(train(make_recipe(tmp_path / "plain", SETTINGS | {"sample.every": -1})))
    assert list_steps(plain) == ([], [7])
    assert isinstance(timed[-1], Finished) and isinstance(plain[-1], Finished)
    one, other = (read_weight_file(event.path).tensors for event in (timed[-1], plain[-1]))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_resumed_run_counts_from_its_own_first_step(clock: Clock, tmp_path: Path) -> None:
    begun = list(clock.follow(train(make_recipe(tmp_path / "runs", TIMED)), until=4))
    assert list_steps(begun) == ([0, 2], [])
    rest = list(clock.follow(resume(tmp_path / "runs" / "zkr")))
    assert next(event.step for event in rest if isinstance(event, Trained)) == 4
    assert list_steps(rest) == ([5, 7], [7])


def test_previews_that_fail_wait_for_the_next_minutes(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def fail(_model: object, _requests: object, on_step: object) -> Iterator[None]:
        tried.append(len(tried))
        raise torch.OutOfMemoryError

    monkeypatch.setattr("tetrad.run.previews.generate_images", fail)
    settings = TIMED | {"sample.before_training": False, "sample.every_minutes": 2}
    list(clock.follow(train(make_recipe(tmp_path / "runs", settings))))
    assert len(tried) == 2  # after steps 4 and 7


def test_a_timer_of_no_minutes_is_never_over(clock: Clock) -> None:
    timer = MinuteTimer(0)
    clock.now += 10_000
    assert not timer.is_over()


@pytest.mark.parametrize(
    "minutes,planned,expected",
    [
        (0, (0, 100), 0),
        (1, (0, 60), 0),
        (1, (0, 61), 1),
        (1, (0, 180), 2),
        (1, (0, 90, 180), 2),
        (0.5, (30, 120), 2),
        (0.001, (0, 10), 9),
    ],
)
def test_a_plan_expects_what_fits_between_its_steps(minutes: float, planned: tuple[int, ...], expected: int) -> None:
    assert count_timed(minutes, planned, step_seconds=1) == expected
