"""Updates during the backward pass: each gradient is applied and freed before the next one is computed."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.training.stochastic_rounding import StochasticRounding
from tetrad.training.update import LossScaler, Update, has_diverged, is_not_finite, iterate_parameters, step_if_finite


class FusedBackwardUpdate:
    """Updates each parameter on its own, so that there is never more than one gradient in memory.

    Gradient clipping needs all gradients at once, so it cannot be combined with this (E3133). A loss that is NaN or Inf
    prevents the whole update and all later ones; a gradient that is prevents those, and of this update only that of its
    own parameter.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_grad_norm: float,
        loss_scaler: LossScaler | None = None,
        rounding: StochasticRounding | None = None,
    ) -> None:
        if max_grad_norm:
            raise TetradError(
                "E3133",
                _(
                    "train.fused_backward cannot be combined with gradient clipping, because it never holds all "
                    "gradients at once; set train.max_grad_norm to 0, it is {max_grad_norm:g}"
                ),
                max_grad_norm=max_grad_norm,
            )
        self.optimizer, self.rounding = optimizer, rounding
        self.loss_scaler = loss_scaler
        self.squared_norm: Tensor | None = None
        self.has_begun = False  # the loop sets it back when the step is done
        device = next(iterate_parameters(optimizer)).device
        self.bad_loss = torch.zeros((), device=device)  # 1 from then on where training has diverged
        self.hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self.update_parameter, group))
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.requires_grad
        ]

    def backward(self, loss: Tensor) -> None:
        assert self.squared_norm is None, "one backward pass per update"
        self.squared_norm = torch.zeros((), device=loss.device)
        self.bad_loss = self.bad_loss.maximum(is_not_finite(loss))
        (loss if self.loss_scaler is None else loss * self.loss_scaler.scale).backward()  # type: ignore[no-untyped-call]

    def update_parameter(self, group: dict[str, Any], parameter: nn.Parameter) -> None:
        """Update one parameter and free its gradient."""
        gradient = parameter.grad
        assert gradient is not None and self.squared_norm is not None
        gradient_squared_norm = gradient.float().square().sum()
        self.squared_norm += gradient_squared_norm
        divisor = torch.ones_like(gradient_squared_norm) if self.loss_scaler is None else self.loss_scaler.scale
        all_groups, self.optimizer.param_groups = self.optimizer.param_groups, [{**group, "params": [parameter]}]
        self.has_begun = True
        found_inf = is_not_finite(gradient_squared_norm).maximum(self.bad_loss)
        step_if_finite(self.optimizer, [gradient], divisor, found_inf, self.rounding)
        self.optimizer.param_groups = all_groups
        parameter.grad = None

    def finish(self) -> Update:
        """What came of the update; the parameters are updated already."""
        squared_norm, self.squared_norm = self.squared_norm, None
        if squared_norm is None:
            squared_norm = torch.zeros((), device=next(iterate_parameters(self.optimizer)).device)
        norm = squared_norm.sqrt() / (1.0 if self.loss_scaler is None else self.loss_scaler.scale)
        found_inf = is_not_finite(norm).maximum(self.bad_loss)
        self.bad_loss = has_diverged(found_inf, self.bad_loss, self.loss_scaler)
        return Update(norm, self.bad_loss, found_inf)

    def close(self) -> None:
        """Remove the hooks, and a gradient that a failed step has left."""
        self.optimizer.zero_grad()
        for hook in self.hooks:
            hook.remove()
