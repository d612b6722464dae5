"""Stores merged tensors: in the precision of the result, and only where that can hold them."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.library.checkpoints import DTYPES
from tetrad.locales import _


def store_tensor(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in the precision of the result.  E5303 where that cannot hold it."""
    if tensor.numel() and dtype.is_floating_point:
        smallest, largest = map(float, (tensor.float() if tensor.itemsize == 1 else tensor).aminmax())
        largest = max(-smallest, largest)
        if not math.isfinite(largest):
            raise overflow_error(name)
        if not largest <= torch.finfo(dtype).max:
            template = _(
                "{tensor} of the merged model has the value {value:g}, which {precision} cannot hold; use fp32"
            )
            precision = next(title for title, each in DTYPES.items() if each == dtype)
            raise TetradError("E5303", template, tensor=name, value=largest, precision=precision)
    return tensor.to(dtype)


def overflow_error(name: str) -> TetradError:
    """E5303 for a merged tensor that contains NaN or Inf, as weights far from 1 give."""
    template = _("{tensor} of the result is too large even for fp32; use weights nearer to 0…1")
    return TetradError("E5303", template, tensor=name)


def require_representable(tensors: Mapping[str, Tensor]) -> None:
    """E5303 where a merged tensor contains NaN or Inf."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise overflow_error(name)


def require_half_precision(tensors: Mapping[str, Tensor]) -> None:
    """E5303 where half precision, in which web UIs compute with these tensors, cannot hold a value of a merged one."""
    for name, tensor in tensors.items():
        if not (largest := float(tensor.abs().max())) <= torch.finfo(torch.float16).max:
            template = _(
                "{tensor} of the result has the value {value:g}, which is too large for half precision; web UIs compute"
                " hypernetworks in half precision, so use strengths closer to 0…1"
            )
            raise TetradError("E5303", template, tensor=name, value=largest)
