"""From gradients to weights: clipped, and never from a gradient that is not a number.

Nothing here makes the host wait for the device, as long as the optimizer takes a divisor and a veto into its own
kernel, as torch's fused ones do.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Scaling:
    """What keeps small float16 gradients from vanishing: the loss is multiplied, the gradients are divided again.

    Halved after a gradient that overflowed, doubled after two thousand good ones.  [Micikevicius et al. 2018]
    """

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), 2.0**16, device=device)
        self.good = torch.zeros((), dtype=torch.int32, device=device)

    def move(self, bad: Tensor) -> None:
        torch._amp_update_scale_(self.scale, self.good, bad, 2.0, 0.5, 2000)


class AtOnce:
    """An optimizer's update of everything, after the backward."""

    def __init__(self, optimizer: Optimizer, max_grad_norm: float, scaling: Scaling | None = None) -> None:
        self.optimizer = optimizer
        self.parameters = list(parameters(optimizer))
        self.max_grad_norm = max_grad_norm
        self.scaling = scaling

    def backward(self, loss: Tensor) -> None:
        (loss if self.scaling is None else loss * self.scaling.scale).backward()  # type: ignore[no-untyped-call]

    def finish(self) -> tuple[Tensor, Tensor]:
        """Update and forget the gradients; their norm before clipping, and whether the training has diverged."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        scale = torch.ones((), device=self.parameters[0].device) if self.scaling is None else self.scaling.scale
        norm = length(gradients, like=scale) / scale
        bad = norm.isfinite().logical_not().float()
        divisor = scale * shortening(norm, self.max_grad_norm)
        guarded(self.optimizer, gradients, divisor, bad)
        self.optimizer.zero_grad()
        return norm, diverged(bad, self.scaling)

    def close(self) -> None:
        """Nothing was changed that would have to be changed back."""


def length(gradients: list[Tensor], like: Tensor) -> Tensor:
    """The norm of all of them together, a scalar."""
    if not gradients:
        return torch.zeros_like(like)
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


def shortening(norm: Tensor, max_grad_norm: float) -> Tensor:
    """What to divide gradients by to have them no longer than `max_grad_norm`, as clip_grad_norm_ does; 0 is off."""
    return ((norm + 1e-6) / max_grad_norm).clamp(min=1) if max_grad_norm else torch.ones_like(norm)


def guarded(optimizer: Optimizer, gradients: list[Tensor], divisor: Tensor, bad: Tensor) -> None:
    """A step on divided gradients, or none where `bad` is 1."""
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.grad_scale, optimizer.found_inf = divisor, bad  # type: ignore[attr-defined]
        optimizer.step()
        optimizer.grad_scale = optimizer.found_inf = None  # type: ignore[attr-defined]
    elif not bad:  # an optimizer without a veto: the host has to wait and see
        torch._foreach_div_(gradients, divisor)
        optimizer.step()


def diverged(bad: Tensor, scaling: Scaling | None) -> Tensor:
    """Whether there is no going on: float16 may overflow now and then, but not with nothing left to halve."""
    if scaling is None:
        return bad
    scaling.move(bad)
    return (scaling.scale < 1).float()


def parameters(optimizer: Optimizer) -> Iterator[nn.Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]
