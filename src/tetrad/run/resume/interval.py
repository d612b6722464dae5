"""When a resume point is due: often enough that a crash costs little, seldom enough that saving costs little."""

import time
from collections.abc import Callable

MAX_LOSS_SECONDS = 60  # of work that a crash may cost,
MAX_LOSS_SHARE = 0.01  # or this share of the run, if that is more
MAX_COST_SHARE = 0.02  # of the run's time that saving may cost; where the two contradict each other, this one counts
_USUAL_COST_SHARE = 0.01
_MIN_SECONDS = 5.0
_ASSUMED_BYTES_PER_SECOND = 200e6  # until a save has been measured


class SaveInterval:
    """Decides by what the last save cost; `size` is the number of bytes of a point."""

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.cost = size / _ASSUMED_BYTES_PER_SECOND
        self.is_measured = False
        self.start = self.last_save = clock()

    def is_due(self, steps_done: int, steps_left: int) -> bool:
        """Whether a point is due after `steps_done` steps since training began; never after the last one."""
        return steps_left > 0 and self.clock() - self.last_save >= self.seconds(steps_done, steps_left)

    def seconds(self, steps_done: int, steps_left: int) -> float:
        """The time from one point to the next; the first comes within a minute whatever it costs."""
        run_seconds = (self.clock() - self.start) * (steps_done + steps_left) / max(1, steps_done)
        longest = max(MAX_LOSS_SECONDS, MAX_LOSS_SHARE * run_seconds)
        usual = max(_MIN_SECONDS, self.cost / _USUAL_COST_SHARE)
        if not self.is_measured:
            return min(usual, MAX_LOSS_SECONDS * 0.75)
        return usual if usual <= longest else max(longest, self.cost / MAX_COST_SHARE)

    def record_save(self, seconds: float) -> None:
        """Note what a save cost that has just ended."""
        self.cost, self.is_measured, self.last_save = seconds, True, self.clock()
