"""Copies of whole models."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from tetrad.models.base import Model

_WRAPPER = "forward"  # in a module's own attributes: an adapter's, around that of its class


def copy_model(model: Model, copy_tensor: Callable[[Tensor], Tensor]) -> Model:
    """A copy of the model with a copy of each tensor, without adapters that are attached to it.

    `copy.deepcopy` alone takes longer than a training step of a small model.
    """
    copies: dict[int, Any] = {}  # by the original's address, as copy.deepcopy wants them
    for network in (*model.parts().values(), *model.vae.networks[:1]):
        for tensor in (*network.parameters(), *network.buffers()):
            copies.setdefault(id(tensor), _copy_tensor(tensor, copy_tensor))
        for module in network.modules():
            copies[id(module)] = _copy_without_contents(module)
        for module in network.modules():
            copied = copies[id(module)]
            for contents in (copied._parameters, copied._buffers, copied._modules):
                contents.update({name: copies[id(value)] for name, value in contents.items() if value is not None})
    return copy.deepcopy(model, copies)


def _copy_without_contents(module: nn.Module) -> nn.Module:
    """A module of the same class with the same attributes, and still with the tensors and submodules of the first."""
    copied: nn.Module = object.__new__(type(module))
    copied.__dict__.update(
        {
            name: value.copy() if type(value) in (dict, OrderedDict) else value
            for name, value in vars(module).items()
            if name != _WRAPPER
        }
    )
    return copied


def _copy_tensor(tensor: Tensor, copy_tensor: Callable[[Tensor], Tensor]) -> Tensor:
    copied = copy_tensor(tensor.detach())
    return nn.Parameter(copied, requires_grad=False) if isinstance(tensor, nn.Parameter) else copied
