"""What a run does every N minutes instead of every N steps: when it is due, and about how often that will be."""

import math
import time
from collections.abc import Callable, Iterable
from itertools import pairwise


class MinuteTimer:
    """Says when N minutes have passed since the last time; with 0 minutes, never."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.minutes, self.clock = minutes, clock
        self.restart()

    def is_over(self) -> bool:
        return 0 < self.minutes <= (self.clock() - self.start) / 60

    def restart(self) -> None:
        """Count the minutes from now on."""
        self.start = self.clock()


def count_timed(minutes: float, planned: Iterable[int], step_seconds: float) -> int:
    """How many times the minutes pass in a run, about; they count anew after each of its `planned` steps.

    The first and the last of these are where the run begins and ends.
    """
    if not minutes:
        return 0
    gaps = (second - first for first, second in pairwise(planned))
    return sum(max(0, min(gap, math.ceil(gap * step_seconds / 60 / minutes)) - 1) for gap in gaps)
