"""EMA: an exponential moving average of the trained weights."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class Ema:
    """w̄ ← w̄ + (1 - d)(w - w̄), with d = min(decay, (1 + n) / (10 + n)) at step n, so the first weights count little."""

    def __init__(self, parameters: Iterable[Tensor], decay: float = 0.999) -> None:
        self.decay = decay
        self.steps = 0
        self.average = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, parameters: Iterable[Tensor]) -> None:
        """Add the weights after a step; the parameters are those of the start, in the same order."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, list(parameters), 1 - decay)

    @torch.no_grad()
    def swap(self, parameters: Iterable[Tensor]) -> None:
        """Exchange weights and average; a second call restores both."""
        for average, parameter in zip(self.average, parameters, strict=True):
            weights = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(weights)

    @contextmanager
    def use_average(self, parameters: Sequence[Tensor]) -> Iterator[None]:
        """Inside this context the weights are their average, for saving and for previews."""
        self.swap(parameters)
        try:
            yield
        finally:
            self.swap(parameters)
