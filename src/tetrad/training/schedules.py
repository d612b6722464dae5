"""How the learning rate moves: the rate of each update, a pure function of its number.  The first update is number 1.

A text is a plain number, or a schedule as the AUTOMATIC1111 web UI writes it: `0.05:10, 0.02:20, 0.0005` is 0.05 for
updates 1 to 10, 0.02 for 11 to 20, then 0.0005; `-1` as a bound is the end. A plain number takes the run's shape and
warm-up; a text with bounds is a shape already and is followed to the letter.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from tetrad.errors import TetradError

Shape = Literal["constant", "linear", "cosine", "cosine_with_restarts", "polynomial"]
ENDS_EARLY = "W3131"  # the code of a schedule's warnings
EXAMPLE = "write a number like 1e-4, or a schedule like 0.05:10, 0.02:20, 0.0005"


@dataclass(frozen=True)
class Fall:
    """A factor for each step: up from 0 to 1 over the warm-up, then as the shape says, at 0 after the last step.

    A run of one step trains at full rate.
    """

    shape: Shape
    steps: int
    warmup_steps: int = 0
    cycles: int = 3  # of cosine_with_restarts
    power: float = 2.0  # of polynomial

    def __call__(self, step: int) -> float:
        if step <= self.warmup_steps:
            return step / (self.warmup_steps + 1)
        done = min(1.0, (step - 1 - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        in_cycle = self.cycles * done % 1.0 if done < 1 else 1.0
        factors: dict[Shape, float] = {
            "constant": 1.0,
            "linear": 1 - done,
            "cosine": (1 + math.cos(math.pi * done)) / 2,
            "cosine_with_restarts": (1 + math.cos(math.pi * in_cycle)) / 2,
            "polynomial": (1 - done) ** self.power,
        }
        return factors[self.shape]


def level(step: int) -> float:
    """The same all the way."""
    return 1.0


@dataclass(frozen=True)
class Schedule:
    """Rates one after the other, each with the last update it holds for (None: the end), times a factor.

    Past the last bound the last rate goes on. After `last` nothing is learned any more.
    """

    pieces: tuple[tuple[float, int | None], ...]
    factor: Callable[[int], float] = level
    last: int | None = None

    def __call__(self, step: int) -> float:
        if self.last is not None and step > self.last:
            return 0.0
        return self.piece(step) * self.factor(step)

    def __str__(self) -> str:
        """The text it was made of, `0.05:10, 0.02`, without what it is multiplied by."""
        return ", ".join(f"{rate:g}" if bound is None else f"{rate:g}:{bound}" for rate, bound in self.pieces)

    def piece(self, step: int) -> float:
        return next((rate for rate, bound in self.pieces if bound is None or step <= bound), self.pieces[-1][0])

    @property
    def end(self) -> int | None:
        """The update its text ends with; None where it is good for ever."""
        return self.pieces[-1][1]

    def rests(self, step: int) -> bool:
        """Whether nothing is learned at this update nor after it."""
        ahead = [rate for rate, bound in self.pieces if bound is None or step <= bound] or [self.pieces[-1][0]]
        return (self.last is not None and step > self.last) or not any(ahead)

    def until(self, last: int) -> "Schedule":
        """The same up to an update, and nothing after it: for a part that learns for a share of the run."""
        return replace(self, last=last)

    def warnings(self, steps: int, before: int = 0) -> list[str]:
        """What a run of so many updates in all, `before` of them already done, should be told."""
        kept = f"its last rate, {self.pieces[-1][0]:g}, is kept to step {steps}; end the schedule with :-1 to mean that"
        if self.end is None or self.end >= steps:
            return []
        if before >= self.end:
            return [f"the learning-rate schedule ended at step {self.end}, and {before} steps are already done: {kept}"]
        return [f"the learning-rate schedule ends at step {self.end}, before the run does: {kept}"]


def constant(rate: float) -> Schedule:
    return Schedule(((rate, None),))


def parsed(text: str) -> Schedule:
    """The schedule a text stands for.

    E3131 where something in it is no rate or no step, E3132 where the bounds make no sense.
    """
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise TetradError("E3131", f"the learning rate is empty; {EXAMPLE}")
    pieces: list[tuple[float, int | None]] = []
    for number, item in enumerate(items):
        rate, bound = piece(item)
        before = pieces[-1][1] if pieces else 0
        if bound is not None and before is not None and bound <= before:
            raise TetradError(
                "E3132",
                f"the learning-rate schedule {text!r} goes back at {item!r}: bounds are steps counted from the start "
                "of the training, each greater than the one before it",
            )
        if bound is None and number < len(items) - 1:
            raise TetradError(
                "E3132",
                f"the learning-rate schedule {text!r} goes on after {item!r}, which already lasts to the end; "
                "give that rate a bound, like 0.05:10",
            )
        pieces.append((rate, bound))
    return Schedule(tuple(pieces))


def piece(item: str) -> tuple[float, int | None]:
    """`rate` or `rate:step` as numbers; the step is None for the end."""
    rate_text, *bounds = (part.strip() for part in item.split(":"))
    try:
        rate = float(rate_text)
        bound = int(bounds[0]) if bounds else -1
    except ValueError as error:
        raise TetradError("E3131", f"the learning rate {item!r} cannot be read; {EXAMPLE}") from error
    if len(bounds) > 1:
        raise TetradError("E3131", f"the learning rate {item!r} has more than one colon; {EXAMPLE}")
    if not 0 <= rate <= 1:
        raise TetradError("E3131", f"a learning rate must be from 0 to 1; it is {rate_text}")
    if bound < 1 and bound != -1:
        raise TetradError(
            "E3132", f"the learning rate {item!r} ends at step {bound}; a bound is a step from 1 on, or -1 for the end"
        )
    return rate, None if bound == -1 else bound


def scheduled(text: str | float, fall: Callable[[int], float]) -> Schedule:
    """A plain number falls, with its warm-up; a text with bounds is a shape already and is left as it is."""
    schedule = parsed(str(text))
    return replace(schedule, factor=fall) if is_plain(text) else schedule


def is_plain(text: str | float) -> bool:
    """Whether a learning rate is one number, and no schedule."""
    return ":" not in str(text)
