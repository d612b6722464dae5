"""The learning rate of each update, a pure function of its number.  The first update is number 1."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from tetrad.settings.learning_rate import LearningRate
from tetrad.settings.schedulers import Scheduler


@dataclass(frozen=True)
class Decay:
    """A factor for each step: from 0 to 1 during the warm-up, then by the scheduler to `min_ratio` after the last step.

    A run of one step trains at the full learning rate.
    """

    scheduler: Scheduler
    steps: int
    warmup_steps: int = 0
    cycles: int = 3  # of cosine_with_restarts
    power: float = 2.0  # of polynomial
    warmup_from_zero: bool = False  # the first update of the warm-up has rate 0, as in kohya's sd-scripts
    min_ratio: float = 0.0
    timescale: int = 10_000  # of inverse_sqrt, and of cosine_annealing
    decay_steps: int = 0  # of warmup_stable_decay

    def __call__(self, step: int) -> float:
        if step <= self.warmup_steps:
            return (step - 1) / self.warmup_steps if self.warmup_from_zero else step / (self.warmup_steps + 1)
        return self.min_ratio + (1 - self.min_ratio) * _SHAPES[self.scheduler](self, step - 1 - self.warmup_steps)

    def progress(self, count: int, stable_steps: int = 0) -> float:
        """From 0 to 1 between the warm-up, with the stable steps after it, and the end; `count` is of steps since."""
        steps = max(1, self.steps - self.warmup_steps - stable_steps)
        return min(1.0, max(0.0, (count - stable_steps) / steps))


def _linear(decay: Decay, count: int) -> float:
    return 1 - decay.progress(count)


def _cosine(decay: Decay, count: int) -> float:
    """Half a period.  [Loshchilov & Hutter 2017, eq. 5]"""
    return (1 + math.cos(math.pi * decay.progress(count))) / 2


def _cosine_with_restarts(decay: Decay, count: int) -> float:
    """A cosine for each cycle, each at once back at 1.  [Loshchilov & Hutter 2017]"""
    progress = decay.progress(count)
    return (1 + math.cos(math.pi * (decay.cycles * progress % 1.0 if progress < 1 else 1.0))) / 2


def _polynomial(decay: Decay, count: int) -> float:
    return float((1 - decay.progress(count)) ** decay.power)


def _inverse_sqrt(decay: Decay, count: int) -> float:
    """√(τ / (n + τ)), n steps after the warm-up, with the timescale τ.  [Zhai et al. 2022; as in transformers]"""
    timescale = max(1, decay.timescale)
    return math.sqrt(timescale / (count + timescale))


def _warmup_stable_decay(decay: Decay, count: int) -> float:
    """Constant, then a cosine in the last `decay_steps`.  [Hu et al. 2024, eq. 1; the cosine as in transformers]"""
    stable_steps = max(0, decay.steps - decay.warmup_steps - decay.decay_steps)
    return (1 + math.cos(math.pi * decay.progress(count, stable_steps))) / 2


def _cosine_annealing(decay: Decay, count: int) -> float:
    """A cosine of this half period, down and up again, as torch's CosineAnnealingLR."""
    return (1 + math.cos(math.pi * count / max(1, decay.timescale))) / 2


def _rex(decay: Decay, count: int) -> float:
    """(1 - p) / (0.1 + 0.9 (1 - p)): high for long, then steep.  [Chen et al. 2022, with OneTrainer's 0.9 for 0.5]"""
    remaining = 1 - decay.progress(count)
    return remaining / (0.1 + 0.9 * remaining)


# The factor without minimum, by the number of steps since the warm-up.
_SHAPES: dict[Scheduler, Callable[[Decay, int], float]] = {
    "constant": lambda decay, count: 1.0,
    "linear": _linear,
    "cosine": _cosine,
    "cosine_with_restarts": _cosine_with_restarts,
    "polynomial": _polynomial,
    "inverse_sqrt": _inverse_sqrt,
    "warmup_stable_decay": _warmup_stable_decay,
    "rex": _rex,
    "cosine_annealing": _cosine_annealing,
}


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
