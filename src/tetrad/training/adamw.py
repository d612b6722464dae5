"""AdamW in one kernel, called with as little ado as possible.  [Loshchilov & Hutter 2019]"""

from collections.abc import Callable
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW


class FusedAdamW(AdamW):
    """torch's fused AdamW with its lists kept from step to step: to gather hundreds of small tensors takes long.

    What learns is float32 and on one device. `grad_scale` divides the gradients and a `found_inf` of 1 forbids the
    update, both within the kernel.
    """

    grad_scale: Tensor | None = None
    found_inf: Tensor | None = None

    def __init__(self, groups: list[dict[str, Any]], weight_decay: float) -> None:
        super().__init__(groups, weight_decay=weight_decay, fused=True)
        self.learning: dict[int, tuple[list[nn.Parameter], list[Tensor], list[Tensor], list[Tensor]]] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for number, group in enumerate(self.param_groups):
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            _, averages, squares, steps = self.lists(number, parameters)
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                parameters, [parameter.grad for parameter in parameters], averages, squares, [], steps,
                lr=group["lr"], beta1=group["betas"][0], beta2=group["betas"][1], weight_decay=group["weight_decay"],
                eps=group["eps"], amsgrad=False, maximize=False, grad_scale=self.grad_scale, found_inf=self.found_inf,
            )  # fmt: skip
            if self.found_inf is not None:
                torch._foreach_sub_(steps, [self.found_inf] * len(steps))

    def lists(
        self, number: int, parameters: list[nn.Parameter]
    ) -> tuple[list[nn.Parameter], list[Tensor], list[Tensor], list[Tensor]]:
        """A group's parameters and their states, gathered again only where others learn than in the step before."""
        known = self.learning.get(number)
        if known is None or len(known[0]) != len(parameters) or not all(map(is_, known[0], parameters)):
            states = [self.begun(parameter) for parameter in parameters]
            averages, squares, steps = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step"))
            known = self.learning[number] = parameters, averages, squares, steps
        return known

    def begun(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """A parameter's state, by torch's names; nothing, at the first step."""
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.learning.clear()
        super().load_state_dict(state_dict)
