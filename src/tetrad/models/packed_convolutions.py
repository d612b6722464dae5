"""Frozen 3×3 convolutions on a CPU whose weights are put into oneDNN's order once, and not again at every call.

The input's gradient of such a convolution is itself a convolution, of the output's gradient with the weights flipped,
so both directions have packed weights. The operators are PyTorch's own for compiled models, and private: `can_pack`
tries them, and `measure_packing_gain` (in `estimate`) whether they are faster.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_DTYPES = (torch.float32, torch.bfloat16)
COPIES = 2  # of the weights: one for each direction
_ONES = [1, 1]  # stride, padding and dilation


def list_packable(network: nn.Module) -> Iterator[nn.Conv2d]:
    """The convolutions that are not trained, 3 × 3 with stride 1 and zeros around."""
    for layer in network.modules():
        if (
            type(layer) is nn.Conv2d
            and not layer.weight.requires_grad
            and (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
            and layer.groups == 1
            and layer.padding_mode == "zeros"
        ):
            yield layer


def pack_convolutions(network: nn.Module) -> None:
    """Let a network's packable convolutions use packed weights where gradients are computed.

    Nothing else changes: without gradients, as in previews, they compute what they did. Adapters stay around them.
    """
    for layer in list_packable(network):
        adapter = vars(layer).get("forward")
        if adapter is None:
            layer.forward = PackedConvolution(layer)  # type: ignore[method-assign, assignment]
        elif hasattr(adapter, "call") and not isinstance(adapter.call, PackedConvolution):
            adapter.call = PackedConvolution(layer)


class PackedConvolution:
    """The forward of a convolution; its weights are packed at the first call, for inputs of that size."""

    def __init__(self, layer: nn.Conv2d) -> None:
        self.layer, self.plain = layer, type(layer).forward
        self.packed: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):  # which does not look inside an autograd function
            x = x.to(torch.get_autocast_dtype("cpu"))
        if not torch.is_grad_enabled() or x.dtype != self.layer.weight.dtype or x.device.type != "cpu":
            return self.plain(self.layer, x)
        if self.packed is None:
            self.packed = _pack(self.layer.weight.detach(), x)
        output: Tensor = _Convolve.apply(x, *self.packed, self.layer.bias)  # type: ignore[no-untyped-call]
        return output


def _pack(weight: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The weights of the convolution and of its input's gradient."""
    flipped = weight.transpose(0, 1).flip(2, 3)
    y_shape = [len(x), len(weight), *x.shape[2:]]
    return _reorder(weight, list(x.shape)), _reorder(flipped, y_shape)


def _reorder(weight: Tensor, input_shape: list[int]) -> Tensor:
    reorder: Callable[..., Tensor] = torch._C._nn.mkldnn_reorder_conv2d_weight
    return reorder(weight.contiguous().to_mkldnn(), _ONES, _ONES, _ONES, 1, input_shape)


def _convolve(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    # Packed weights answer in channels_last; an input in it is not reordered either.
    x = x.contiguous(memory_format=torch.channels_last)
    call: Callable[..., Tensor] = torch.ops.mkldnn._convolution_pointwise
    return call(x, packed, bias, _ONES, _ONES, _ONES, 1, "none", [], "")


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, flipped: Tensor, bias: Tensor | None) -> Tensor:
        ctx.flipped = flipped  # what is packed cannot be saved as other tensors are
        return _convolve(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x_gradient = _convolve(gradient, ctx.flipped, None) if ctx.needs_input_grad[0] else None
        return x_gradient, None, None, None


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether this build of PyTorch has the operators, and they give what a plain convolution gives."""
    if dtype not in _DTYPES or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    rng = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(8, 16, 3, padding=1).requires_grad_(False).to(dtype)
    for parameter in layer.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=rng))
    x = torch.randn(2, 8, 5, 6, generator=rng).to(dtype)
    try:
        (y, x_gradient), (packed_y, packed_gradient) = (
            _call_with_gradient(call, x) for call in (layer, PackedConvolution(layer))
        )
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    limit = 20 * torch.finfo(dtype).eps
    return all(
        bool(F.mse_loss(found, expected).sqrt() <= limit * expected.square().mean().sqrt())
        for found, expected in ((packed_y, y), (packed_gradient, x_gradient))
    )


def _call_with_gradient(call: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """The output, and the gradient of the input for a gradient of 1, -1, 1, … of the output."""
    x = x.clone().requires_grad_()
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        y = call(x)
        signs = 1.0 - 2.0 * (torch.arange(y.numel()) % 2)
        y.backward(signs.reshape(y.shape).to(y.dtype))  # type: ignore[no-untyped-call]
    assert x.grad is not None
    return y.detach().float(), x.grad.float()
