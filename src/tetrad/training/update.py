"""The update of the weights: gradient clipping, float16 loss scaling, and no update from a gradient that is NaN or Inf.

Nothing here makes the host wait for the device, if the optimizer takes `grad_scale` and `found_inf` into its own
kernel, as torch's fused optimizers do.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tetrad.training.stochastic_rounding import StochasticRounding


class HalfUpdate(Exception):
    """An error in the middle of an update: a part of the weights is of the step before.  Its cause is the error."""


class Update(NamedTuple):
    """What came of an update, as scalars on the device: 0 or 1, but for the norm."""

    norm: Tensor  # of all gradients, before clipping
    diverged: Tensor  # the loss or its gradient was NaN or Inf, and not from one of float16's usual overflows
    skipped: Tensor  # the update was not made


class LossScaler:
    """Loss scaling for float16: the loss is multiplied, so that small gradients do not vanish; gradients are divided.

    The scale is halved after an overflow and doubled after 2000 updates without one.  [Micikevicius et al. 2018]
    """

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), 2.0**16, device=device)
        self.good_steps = torch.zeros((), dtype=torch.int32, device=device)

    def update(self, found_inf: Tensor) -> None:
        torch._amp_update_scale_(self.scale, self.good_steps, found_inf, 2.0, 0.5, 2000)


class StandardUpdate:
    """An optimizer's update of all parameters, after the backward pass."""

    def __init__(
        self,
        optimizer: Optimizer,
        max_grad_norm: float,
        loss_scaler: LossScaler | None = None,
        rounding: StochasticRounding | None = None,
        measure_norm: "MeasureNorm | None" = None,
    ) -> None:
        self.optimizer, self.rounding = optimizer, rounding
        self.measure_norm = measure_norm or gradient_norm
        self.parameters = list(iterate_parameters(optimizer))
        self.max_grad_norm = max_grad_norm
        self.loss_scaler = loss_scaler
        self.has_begun = False  # the loop sets it back when the step is done
        self.bad_loss = torch.zeros((), device=self.parameters[0].device)  # 1 from then on where training has diverged

    def note_loss(self, loss: Tensor) -> None:
        """Make no update where this loss is NaN or Inf."""
        self.bad_loss = self.bad_loss.maximum(is_not_finite(loss))

    def backward(self, loss: Tensor) -> None:
        self.note_loss(loss)
        (loss if self.loss_scaler is None else loss * self.loss_scaler.scale).backward()  # type: ignore[no-untyped-call]

    def finish(self) -> Update:
        """Update, unless the loss or a gradient is NaN or Inf, or training has diverged; then clear the gradients."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        scale = torch.ones((), device=self.parameters[0].device) if self.loss_scaler is None else self.loss_scaler.scale
        norm = self.measure_norm(gradients, scale) / scale
        found_inf = is_not_finite(norm).maximum(self.bad_loss)
        divisor = scale * _clip_divisor(norm, self.max_grad_norm)
        self.has_begun = True
        step_if_finite(self.optimizer, gradients, divisor, found_inf, self.rounding)
        self.optimizer.zero_grad()
        self.bad_loss = has_diverged(found_inf, self.bad_loss, self.loss_scaler)
        return Update(norm, self.bad_loss, found_inf)

    def close(self) -> None:
        """Discard the gradients of a step that has failed."""
        self.optimizer.zero_grad()


MeasureNorm = Callable[[list[Tensor], Tensor], Tensor]  # (gradients, like) -> their norm, a scalar as `like` is


def gradient_norm(gradients: list[Tensor], like: Tensor) -> Tensor:
    """The norm over all gradients, a scalar."""
    if not gradients:
        return torch.zeros_like(like)
    dtype = torch.promote_types(gradients[0].dtype, torch.float32)
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, dtype=dtype)))
    return norm


def _clip_divisor(norm: Tensor, max_grad_norm: float) -> Tensor:
    """What to divide gradients by so that their norm is at most `max_grad_norm`, as clip_grad_norm_ does; 0 is off."""
    return ((norm + 1e-6) / max_grad_norm).clamp(min=1) if max_grad_norm else torch.ones_like(norm)


def step_if_finite(
    optimizer: Optimizer,
    gradients: list[Tensor],
    divisor: Tensor,
    found_inf: Tensor,
    rounding: StochasticRounding | None = None,
) -> None:
    """An optimizer step with divided gradients, or none where `found_inf` is 1."""
    step = rounding.step if rounding else optimizer.step
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.grad_scale, optimizer.found_inf = divisor, found_inf  # type: ignore[attr-defined]
        step()
        optimizer.grad_scale = optimizer.found_inf = None  # type: ignore[attr-defined]
    elif not found_inf:  # this optimizer does not take found_inf, so the host waits for the value
        torch._foreach_div_(gradients, divisor)
        step()


def is_not_finite(tensor: Tensor) -> Tensor:
    """1 where a scalar is NaN or Inf, else 0."""
    return tensor.detach().isfinite().logical_not().float()


def has_diverged(found_inf: Tensor, bad_loss: Tensor, loss_scaler: LossScaler | None) -> Tensor:
    """Whether training has diverged.

    In float16 gradients that overflow are normal until the loss scale falls below 1; a loss that is NaN or Inf is not.
    """
    if loss_scaler is None:
        return found_inf
    loss_scaler.update(found_inf)
    return (loss_scaler.scale < 1).float().maximum(bad_loss)


def create_state(optimizer: Optimizer) -> None:
    """Create the state of what is trained before the first update, if the optimizer can do that by itself."""
    if create := getattr(optimizer, "create_state", None):
        create()


def iterate_parameters(optimizer: Optimizer) -> Iterator[nn.Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]
