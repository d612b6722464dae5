"""Stores tensors in another precision; what does not fit into it keeps its own and is named."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats.deferred_tensors import compute_tensor
from tetrad.library.checkpoints import DTYPES
from tetrad.locales import Message, _, ngettext

PRECISIONS = (*DTYPES, "fp8")
_FP8 = torch.float8_e4m3fn
_UNET_PREFIXES = ("model.diffusion_model.", "model_ema.", "unet.")


def check_precision(name: str) -> None:
    """E3103 for an unknown precision; "" is none."""
    if name and name not in PRECISIONS:
        template = _("the precision must be one of {known}, not '{value}'")
        raise TetradError("E3103", template, known=", ".join(PRECISIONS), value=name)


def store_tensors(
    tensors: Mapping[str, Tensor], precision: str, is_weight: Callable[[str], bool] = lambda name: True
) -> tuple[dict[str, Tensor], list[Message]]:
    """The tensors of networks in a precision ("" for their own), and notes about those that do not fit into it.

    fp8 (e4m3) is for the matrices of a U-Net or a LoRA only; everything else becomes fp16, since norms, biases and the
    VAE take little space and suffer most. Single numbers and tensors of no network stay as they are.
    """
    stored, overflowing = dict(tensors), []
    for name, tensor in tensors.items():
        if not precision or not is_weight(name) or not tensor.is_floating_point() or not tensor.ndim:
            continue
        dtype = _choose_dtype(name, tensor, precision)
        if _may_overflow(tensor.dtype, dtype) and _overflows(compute_tensor(tensor), dtype):
            overflowing.append(name)
        else:
            stored[name] = tensor.to(dtype)
    if not overflowing:
        return stored, []
    template = ngettext(
        "{count} tensor has values too large for {precision} and keeps its own precision: {names}",
        "{count} tensors have values too large for {precision} and keep their own precision: {names}",
        len(overflowing),
    )
    names = ", ".join([*overflowing[:3], *["…"] * (len(overflowing) > 3)])
    return stored, [Message(template, precision=precision, names=names)]


def _choose_dtype(name: str, tensor: Tensor, precision: str) -> torch.dtype:
    if precision != "fp8":
        return DTYPES[precision]
    is_lora = name.rpartition(".")[2] in ("down", "up")
    return _FP8 if tensor.ndim > 1 and (is_lora or name.startswith(_UNET_PREFIXES)) else torch.float16


def _may_overflow(dtype: torch.dtype, new_dtype: torch.dtype) -> bool:
    return torch.finfo(new_dtype).max < torch.finfo(dtype).max


def _overflows(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether a finite value becomes infinite, or NaN in fp8, when it is rounded to a type."""
    if not tensor.numel():
        return False
    extremes = (tensor.half() if tensor.itemsize == 1 else tensor).aminmax()
    return bool(torch.stack([*extremes]).abs().max() > torch.finfo(dtype).max)
