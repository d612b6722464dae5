"""Tensors between files and the program: what can be computed with, and what can be written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def widen_float8(tensor: Tensor) -> Tensor:
    """A tensor of one of the float8 types in float16, which has all their values; torch computes little in float8."""
    is_float8 = tensor.is_floating_point() and tensor.itemsize == 1
    if not is_float8:
        return tensor
    import torch

    return tensor.to(torch.float32 if tensor.dtype == torch.float8_e8m0fnu else torch.float16)


def unshare_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, each contiguous with memory of its own; only those that share memory are copied."""
    unshared: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        shares_storage = tensor.untyped_storage().nbytes() != tensor.nbytes
        unshared[name] = tensor.clone() if shares_storage else tensor
    seen_pointers: set[int] = set()
    for name, tensor in unshared.items():
        if tensor.data_ptr() in seen_pointers:
            unshared[name] = tensor.clone()
        seen_pointers.add(tensor.data_ptr())
    return unshared


def as_bytes(tensor: Tensor) -> Tensor:
    """A tensor's bytes (n,) as they stand in a file; a view where it is contiguous."""
    import torch

    return tensor.contiguous().flatten().view(torch.uint8)
