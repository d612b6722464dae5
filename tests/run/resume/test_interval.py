"""A crash costs at most a minute or 1 % of the run, and saving at most 2 % of the time."""

from itertools import pairwise

import pytest

from tetrad.run.resume.interval import SaveInterval


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(step_seconds: float, save_seconds: float, steps: int, size: int = 1000) -> tuple[list[float], float]:
    """The times at which points are written in a run of so many steps, and the share of the time that they cost."""
    clock = Clock()
    interval, saves, spent = SaveInterval(size, clock), [], 0.0
    for step in range(1, steps + 1):
        clock.now += step_seconds
        if interval.is_due(step, steps - step):
            clock.now += save_seconds
            interval.record_save(save_seconds)
            saves.append(clock.now)
            spent += save_seconds
    return saves, spent / clock.now


@pytest.mark.parametrize(
    "step_seconds,save_seconds,steps", [(0.1, 0.02, 5000), (1, 0.3, 2000), (3, 0.5, 1000), (20, 0.9, 200)]
)
def test_a_cheap_point_is_saved_at_least_once_a_minute(step_seconds: float, save_seconds: float, steps: int) -> None:
    saves, share = run(step_seconds, save_seconds, steps)
    gaps = [after - before for before, after in pairwise([0.0, *saves])]
    assert max(gaps) <= 60 + step_seconds + save_seconds
    assert share <= 0.02


def test_points_cost_at_most_two_percent_even_where_each_takes_half_a_minute() -> None:
    saves, share = run(step_seconds=2, save_seconds=30, steps=10_000, size=10_000_000_000)
    assert saves[0] <= 60 + 30  # the first comes within a minute, whatever it costs
    assert share <= 0.022 and len(saves) > 5


def test_a_long_run_may_lose_one_percent() -> None:
    saves, _share = run(step_seconds=2, save_seconds=1.5, steps=50_000)
    gaps = [after - before for before, after in pairwise(saves)]
    assert 60 < max(gaps[1:]) <= 0.01 * 50_000 * 2.1


def test_no_point_is_written_after_the_last_step() -> None:
    clock = Clock()
    interval = SaveInterval(1000, clock)
    clock.now = 1000.0
    assert interval.is_due(9, 1) and not interval.is_due(10, 0)
