"""The time of a stage: how much of its budget is used, over all starts, and when its state must be saved."""

import math
import time
from collections.abc import Callable

SAVE_SECONDS = 120.0


class StageClock:
    """Counts the seconds of a stage of training; they are saved with its state, so that they go on after a kill.

    On a CPU, seconds of work are counted: a run in the background of other programs gets few of them in an hour.
    """

    def __init__(self, minutes: float, device: str = "cpu") -> None:
        self.now: Callable[[], float] = time.process_time if device == "cpu" else time.monotonic
        self.budget, self.used = 60 * minutes, 0.0  # seconds; used before this start
        self.started_at, self.saved_at = self.now(), time.monotonic()

    @property
    def seconds(self) -> float:
        return self.used + self.now() - self.started_at

    @property
    def progress(self) -> float:
        """0 at the start, 1 when the budget is used up."""
        return min(1.0, self.seconds / self.budget) if self.budget > 0 else 1.0

    def continue_after(self, used: float) -> None:
        """Count on from an earlier start, which had used this many seconds."""
        self.used, self.started_at = used, self.now()

    def is_save_due(self) -> bool:
        """Whether two minutes have passed since the state was saved; if so, they start again."""
        if time.monotonic() - self.saved_at < SAVE_SECONDS:
            return False
        self.saved_at = time.monotonic()
        return True

    def learning_rate_factor(self, step: int, warmup_steps: int) -> float:
        """A linear warm-up over steps, then a cosine over the time that reaches 0 when the budget is used up."""
        return min(1.0, step / max(1, warmup_steps)) * 0.5 * (1 + math.cos(math.pi * self.progress))
