"""Updates of bfloat16 weights in float32, one tensor after the other, with stochastic rounding of the result.

An update is often smaller than the distance between two bfloat16 numbers, and would be lost if it were rounded to the
nearest one. Stochastic rounding keeps it on average.  [Gupta et al. 2015]
"""

from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from tetrad.diffusion.randomness import derive_seed

_LOST_BITS = 16  # of a float32 number, which bfloat16 does not have


class StochasticRounding:
    """Makes an optimizer's step; the rounding depends only on the seed, the step and the number of the parameter.

    A parameter is float32 while it is updated, so that its state is float32 too. The optimizer must be one that can
    update tensors alone.
    """

    def __init__(self, optimizer: Optimizer, seed: int) -> None:
        self.optimizer, self.seed = optimizer, seed
        self.step_number = 0
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.numbers = {parameter: number for number, parameter in enumerate(parameters)}

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        groups = self.optimizer.param_groups
        for group in groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(group, parameter)
        self.optimizer.param_groups = groups

    @torch.no_grad()
    def _update(self, group: dict[str, Any], parameter: nn.Parameter) -> None:
        self.optimizer.param_groups = [{**group, "params": [parameter]}]
        weights, gradient, parameter.grad = parameter.data, parameter.grad, None
        assert gradient is not None
        parameter.data = weights.float()
        parameter.grad = gradient.float()
        self.optimizer.step()
        parameter.grad, updated = None, parameter.data
        if weights.dtype == torch.bfloat16:
            purpose = f"rounding {self.numbers[parameter]}"
            rng = Generator(weights.device).manual_seed(derive_seed(self.seed, self.step_number, purpose))
            weights.copy_(round_stochastically(updated, rng))
        parameter.data = weights
        parameter.grad = gradient


def make_rounding(optimizer: Optimizer, seed: int) -> StochasticRounding | None:
    """For an optimizer that trains bfloat16 weights; None for any other."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    is_needed = any(parameter.dtype == torch.bfloat16 for parameter in parameters)
    return StochasticRounding(optimizer, seed) if is_needed else None


def round_stochastically(values: Tensor, rng: Generator) -> Tensor:
    """Float32 values as the bfloat16 number below or above, by chance so that their mean stays.  Changes `values`.

    A value that bfloat16 has already stays as it is.
    """
    count = values.numel()
    noise = torch.empty(-(-count // 4), dtype=torch.int64, device=values.device)  # of four values in each number
    noise.random_(-(2**63), None, generator=rng)
    bits = values.view(torch.int32)
    bits += noise.view(torch.int16)[:count].view(values.shape)
    bits += 1 << (_LOST_BITS - 1)  # the noise is from 0 to 2¹⁶ - 1 now
    bits &= -1 << _LOST_BITS
    return values.bfloat16()
