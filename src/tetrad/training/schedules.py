"""How the learning rate moves: a factor for each step, a pure function of its number."""

import math
from collections.abc import Callable
from typing import Literal

Schedule = Callable[[int], float]
Shape = Literal["constant", "linear", "cosine"]


def constant(step: int) -> float:
    """The same all the way."""
    return 1.0


def shaped(shape: Shape, steps: int, warmup_steps: int = 0) -> Schedule:
    """Up from 0 to 1 over `warmup_steps`, then as the shape says, reaching 0 after the last of `steps`.

    Step 1 is the first; a run of one step trains at full rate.
    """
    falling = max(1, steps - warmup_steps)

    def factor(step: int) -> float:
        if step <= warmup_steps:
            return step / (warmup_steps + 1)
        done = min(1.0, (step - 1 - warmup_steps) / falling)
        return {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[shape]

    return factor
