"""Frozen layers whose weights are kept in 8 or 4 bits, and are computed again from these wherever they are needed.

8bit: a byte for each weight, with a scale for each 4096.  [Dettmers et al. 2022]
nf4: four bits for each weight, with a scale for each 64.  [Dettmers et al. 2023, §3]
Both by bitsandbytes, on a GPU or a CPU. Its own layers are linear ones only, and most weights of a U-Net of Stable
Diffusion 1 are in convolutions.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from tetrad.errors import TetradError
from tetrad.locales import _

BITS = {"8bit": 8 + 32 / 4096, "nf4": 4 + 32 / 64}  # of each weight, with its share of a scale
_MIN_ELEMENTS = 4096  # smaller tensors need little memory


def list_quantizable(network: nn.Module) -> Iterator[nn.Linear | nn.Conv2d]:
    """The linear layers and convolutions that are not trained."""
    for layer in network.modules():
        if type(layer) not in _CLASSES:
            continue
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        if not layer.weight.requires_grad and layer.weight.numel() >= _MIN_ELEMENTS:
            yield layer


def quantize_layers(network: nn.Module, kind: str) -> None:
    """Quantize a network's frozen layers, "8bit" or "nf4", one after the other; E3146 without bitsandbytes."""
    functions = import_bitsandbytes()
    for layer in list(list_quantizable(network)):
        weights = QuantizedWeights(layer.weight.detach(), kind, functions)
        del layer.weight
        layer.__class__ = _CLASSES[type(layer)]
        layer.quantized = weights  # type: ignore[assignment]


def import_bitsandbytes() -> Any:
    """bitsandbytes' functions.  E3146 where it is not installed."""
    try:
        return import_module("bitsandbytes.functional")
    except ImportError as error:
        template = _(
            "train.quantize_base needs the package {package}; run {command} in Tetrad's folder, or set"
            " train.quantize_base = none"
        )
        command = 'python -m pip install -c constraints.txt -e ".[bnb]"'
        raise TetradError("E3146", template, package="bitsandbytes", command=command) from error


class QuantizedWeights:
    """A tensor in 8 or 4 bits."""

    def __init__(self, weight: Tensor, kind: str, functions: Any) -> None:
        self.functions, self.name = functions, kind
        if kind == "nf4":
            self.data, self.state = functions.quantize_4bit(weight.contiguous(), quant_type="nf4")
        else:
            self.data, self.state = functions.quantize_blockwise(weight.contiguous())

    def restore(self) -> Tensor:
        """The tensor in its own dtype and shape, as near as its bits are."""
        with torch.no_grad():
            if self.name == "8bit":
                restored: Tensor = self.functions.dequantize_blockwise(self.data, self.state)
                return restored
            # On a CPU bitsandbytes compiles this anew for each shape, until torch gives up with a warning.
            with torch.compiler.set_stance("force_eager") if self.data.device.type == "cpu" else nullcontext():
                restored = self.functions.dequantize_4bit(self.data, self.state)
        return restored


class _Quantized:
    """What a quantized layer has in place of a parameter."""

    quantized: QuantizedWeights

    @property
    def weight(self) -> Tensor:
        return self.quantized.restore()

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x.device.type):  # which does not look inside an autograd function
            x = x.to(torch.get_autocast_dtype(x.device.type))
        output: Tensor = _Apply.apply(x, self)  # type: ignore[no-untyped-call]
        return output


class QuantizedLinear(_Quantized, nn.Linear):  # type: ignore[override]
    """A linear layer."""


class QuantizedConv2d(_Quantized, nn.Conv2d):  # type: ignore[override]
    """A convolution."""


_CLASSES: dict[type[nn.Module], Any] = {nn.Linear: QuantizedLinear, nn.Conv2d: QuantizedConv2d}


class _Apply(torch.autograd.Function):
    """The layer's output; its backward restores the weights again instead of keeping them, and needs no input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Any) -> Tensor:
        ctx.layer, ctx.shape = layer, x.shape
        weight, bias = layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype)
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, bias)
        output: Tensor = layer._conv_forward(x, weight, bias)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None]:
        layer = ctx.layer
        if not ctx.needs_input_grad[0]:
            return None, None
        weight = layer.weight.to(gradient.dtype)
        if isinstance(layer, nn.Linear):
            return gradient @ weight, None
        geometry = layer.stride, layer.padding, layer.dilation, layer.groups
        x_gradient: Tensor = conv2d_input(ctx.shape, weight, gradient, *geometry)  # type: ignore[no-untyped-call]
        return x_gradient, None
