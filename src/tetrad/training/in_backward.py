"""Updates made during the backward: a gradient is applied and freed before the next one is computed."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tetrad.errors import TetradError
from tetrad.training.update import Scaling, diverged, guarded, parameters


class InBackward:
    """An optimizer's update of each parameter alone, so that there is never more than one gradient in memory.

    Nothing may need all gradients together. E3133 where they are to be clipped.
    """

    def __init__(self, optimizer: Optimizer, max_grad_norm: float, scaling: Scaling | None = None) -> None:
        if max_grad_norm:
            raise TetradError(
                "E3133", "an update during the backward never has all gradients to clip; set train.max_grad_norm to 0"
            )
        self.optimizer = optimizer
        self.scaling = scaling
        self.squares: Tensor | None = None
        self.hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self.update, group))
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.requires_grad
        ]

    def backward(self, loss: Tensor) -> None:
        assert self.squares is None, "one backward an update"
        self.squares = torch.zeros((), device=loss.device)
        (loss if self.scaling is None else loss * self.scaling.scale).backward()  # type: ignore[no-untyped-call]

    def update(self, group: dict[str, Any], parameter: nn.Parameter) -> None:
        """A step of one parameter, and its gradient is gone."""
        gradient = parameter.grad
        assert gradient is not None and self.squares is not None
        square = gradient.float().square().sum()
        self.squares += square
        divisor = torch.ones_like(square) if self.scaling is None else self.scaling.scale
        whole, self.optimizer.param_groups = self.optimizer.param_groups, [{**group, "params": [parameter]}]
        guarded(self.optimizer, [gradient], divisor, square.isfinite().logical_not().float())
        self.optimizer.param_groups = whole
        parameter.grad = None

    def finish(self) -> tuple[Tensor, Tensor]:
        """The norm of all gradients, and whether the training has diverged; everything is updated already."""
        squares, self.squares = self.squares, None
        if squares is None:
            squares = torch.zeros((), device=next(parameters(self.optimizer)).device)
        norm = squares.sqrt() / (1.0 if self.scaling is None else self.scaling.scale)
        return norm, diverged(norm.isfinite().logical_not().float(), self.scaling)

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()
