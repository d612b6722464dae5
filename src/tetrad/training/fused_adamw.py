"""AdamW in one fused kernel, with little overhead per step.  [Loshchilov & Hutter 2019]"""

from collections.abc import Callable
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW


class FusedAdamW(AdamW):
    """torch's fused AdamW, but its tensor lists are kept between steps, since building them each time is slow.

    Parameters are float32 while they are updated, and on one device. Inside the kernel `grad_scale` divides the
    gradients, and a `found_inf` of 1 prevents the update.
    """

    grad_scale: Tensor | None = None
    found_inf: Tensor | None = None

    def __init__(
        self,
        groups: list[dict[str, Any]],
        weight_decay: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(groups, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)
        self.group_tensors: dict[int, tuple[list[nn.Parameter], list[Tensor], list[Tensor], list[Tensor]]] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group_index, group in enumerate(self.param_groups):
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            _, averages, squares, steps = self.get_group_tensors(group_index, parameters)
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                parameters, [parameter.grad for parameter in parameters], averages, squares, [], steps,
                lr=group["lr"], beta1=group["betas"][0], beta2=group["betas"][1], weight_decay=group["weight_decay"],
                eps=group["eps"], amsgrad=False, maximize=False, grad_scale=self.grad_scale, found_inf=self.found_inf,
            )  # fmt: skip
            if self.found_inf is not None:
                torch._foreach_sub_(steps, [self.found_inf] * len(steps))

    def get_group_tensors(
        self, group_index: int, parameters: list[nn.Parameter]
    ) -> tuple[list[nn.Parameter], list[Tensor], list[Tensor], list[Tensor]]:
        """A group's parameters and states; collected again only when other parameters have gradients than before."""
        lists = self.group_tensors.get(group_index)
        if lists is None or len(lists[0]) != len(parameters) or not all(map(is_, lists[0], parameters)):
            states = [self.init_state(parameter) for parameter in parameters]
            averages, squares, steps = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step"))
            lists = self.group_tensors[group_index] = parameters, averages, squares, steps
        return lists

    def init_state(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """A parameter's state under torch's names, created as zeros where it has none."""
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            dtype = torch.promote_types(parameter.dtype, torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter, dtype=dtype)
            state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=dtype)
        return state

    def create_state(self) -> None:
        """Create the state of every parameter that is trained, so that no update begins where memory is short of it."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.requires_grad:
                    self.init_state(parameter)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.group_tensors.clear()
        super().load_state_dict(state_dict)
