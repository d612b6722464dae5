"""The learning rate of each update, a pure function of its number.  The first update is number 1."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from tetrad.settings.learning_rate import LearningRate
from tetrad.settings.train import Scheduler


@dataclass(frozen=True)
class Decay:
    """A factor for each step: from 0 to 1 during the warm-up, then by the scheduler, reaching 0 after the last step.

    A run of one step trains at the full learning rate.
    """

    scheduler: Scheduler
    steps: int
    warmup_steps: int = 0
    cycles: int = 3  # of cosine_with_restarts
    power: float = 2.0  # of polynomial
    warmup_from_zero: bool = False  # the first update of the warm-up has rate 0, as in kohya's sd-scripts

    def __call__(self, step: int) -> float:
        if step <= self.warmup_steps:
            return (step - 1) / self.warmup_steps if self.warmup_from_zero else step / (self.warmup_steps + 1)
        progress = min(1.0, (step - 1 - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        cycle_progress = self.cycles * progress % 1.0 if progress < 1 else 1.0
        factors: dict[Scheduler, float] = {
            "constant": 1.0,
            "linear": 1 - progress,
            "cosine": (1 + math.cos(math.pi * progress)) / 2,
            "cosine_with_restarts": (1 + math.cos(math.pi * cycle_progress)) / 2,
            "polynomial": (1 - progress) ** self.power,
        }
        return factors[self.scheduler]


def constant(step: int) -> float:
    """The same factor at every step."""
    return 1.0


@dataclass(frozen=True)
class Schedule:
    """A learning rate times a factor; 0 after `last_step`."""

    learning_rate: LearningRate
    factor: Callable[[int], float] = constant
    last_step: int | None = None

    def __call__(self, step: int) -> float:
        return (
            0.0
            if self.last_step is not None and step > self.last_step
            else self.learning_rate(step) * self.factor(step)
        )

    def is_finished(self, step: int) -> bool:
        """Whether the learning rate is 0 at this update and at every later one."""
        return (self.last_step is not None and step > self.last_step) or self.learning_rate.is_zero_from(step)

    def stop_after(self, last_step: int) -> "Schedule":
        """The same schedule, 0 after `last_step`: for a part that is trained for a share of the run."""
        return replace(self, last_step=last_step)


def make_schedule(learning_rate: LearningRate, decay: Callable[[int], float]) -> Schedule:
    """A single learning rate is warmed up and decays; one that is a schedule itself is followed as it is written."""
    return Schedule(learning_rate, decay if learning_rate.is_single_rate else constant)
