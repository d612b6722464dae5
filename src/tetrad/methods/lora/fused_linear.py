"""A linear layer and its LoRA as one autograd node: fewer operations and fewer tensors than one after the other."""

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tetrad.methods.base import Around


def can_fuse(layer: nn.Module, call: object) -> TypeGuard[nn.Linear]:
    """Whether `call` is the own forward of a linear layer that is not trained, so that one node can replace it."""
    return (
        type(layer) is nn.Linear
        and not layer.weight.requires_grad
        and isinstance(layer.forward, Around)
        and layer.forward.call is call
    )


def add_low_rank(layer: nn.Linear, down: Tensor, up: Tensor, scale: float, x: Tensor) -> Tensor:
    """W x + b + scale · B A x, of shape (…, out), for x (…, in), A (r, in) and B (out, r).  [Hu et al. 2021, eq. 3]"""
    device_type = x.device.type
    # Autocast does not look inside an autograd function, and does not know the meta device.
    if device_type != "meta" and torch.is_autocast_enabled(device_type):
        x = x.to(torch.get_autocast_dtype(device_type))
    weight, bias = layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype)
    weights = weight, bias, down.to(x.dtype), up.to(x.dtype)
    output: Tensor = _FusedLinear.apply(x, *weights, scale)  # type: ignore[no-untyped-call]
    return output


class _FusedLinear(torch.autograd.Function):
    """y = x Wᵀ + b + s (x Aᵀ) Bᵀ.  With g the gradient of y and i = s g B:

    the gradient of B is s gᵀ (x Aᵀ), that of A is iᵀ x, and that of x is g W + i A.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        inner = rows @ down.T
        # From x and not from its rows, which some processors round differently: a new LoRA must change nothing.
        output = F.linear(x, weight, bias).contiguous()
        output.view(-1, output.shape[-1]).addmm_(inner, up.T, alpha=scale)
        ctx.save_for_backward(rows, inner, weight, down, up)
        ctx.scale, ctx.shape = scale, x.shape
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, inner, weight, down, up = ctx.saved_tensors
        of_x, _of_weight, _of_bias, of_down, of_up, _of_scale = ctx.needs_input_grad
        g = gradient.reshape(-1, gradient.shape[-1])
        inner_gradient = (g @ up).mul_(ctx.scale)
        x_gradient = (g @ weight).addmm_(inner_gradient, down).view(ctx.shape) if of_x else None
        down_gradient = inner_gradient.T @ rows if of_down else None
        up_gradient = (g.T @ inner).mul_(ctx.scale) if of_up else None
        return x_gradient, None, None, down_gradient, up_gradient, None
