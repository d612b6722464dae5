"""A layer's operation with a computed weight that is not kept for the backward: it would take the memory of a model."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tetrad.models.base import without_autocast

_Operation = Callable[[Tensor, Tensor], Tensor]  # of an input and a weight
_MakeWeight = Callable[..., Tensor]  # of the small tensors


def apply_recomputed(operation: _Operation, make_weight: _MakeWeight, x: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """operation(x, make_weight(*tensors)); the backward computes the weight again from x and the tensors.

    The weight is made in the precision of the tensors and used in that of x, or of autocast.
    """
    device = x.device.type
    if device != "meta" and torch.is_autocast_enabled(device):
        x = x.to(torch.get_autocast_dtype(device))
    output: Tensor = _Recomputed.apply(operation, make_weight, x, *tensors)  # type: ignore[no-untyped-call]
    return output


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, operation: _Operation, make_weight: _MakeWeight, x: Tensor, *tensors: Tensor) -> Tensor:
        ctx.operation, ctx.make_weight = operation, make_weight
        ctx.save_for_backward(x, *tensors)
        with without_autocast(x.device):
            return operation(x, make_weight(*tensors).to(x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[2:]
        inputs = [each.detach().requires_grad_(need) for each, need in zip(ctx.saved_tensors, needed, strict=True)]
        x, *tensors = inputs
        with torch.enable_grad(), without_autocast(x.device):
            output = ctx.operation(x, ctx.make_weight(*tensors).to(x.dtype))
        wanted = [each for each in inputs if each.requires_grad]
        found = iter(torch.autograd.grad(output, wanted, gradient))
        return None, None, *(next(found) if need else None for need in needed)
