"""Whether packed convolutions are faster on this CPU, measured on layers as those of a model."""

import time
from functools import cache

import torch
from torch import Tensor, nn

from tetrad.models.packed_convolutions import can_pack, pack_convolutions

_LEVELS = ((1, 1), (2, 2), (4, 4), (4, 8))  # of a U-Net: channels times, latents' side divided by
_ROUNDS = 3  # that are timed, after one for warm-up


@cache
def measure_packing_gain(width: int, side: int, batch_size: int, dtype: torch.dtype) -> float:
    """The time of plain convolutions, forward and backward, over that of packed ones; 0 where they cannot be packed.

    For a U-Net of `width` channels and latents of `side` × `side`.
    """
    if not can_pack(dtype):
        return 0.0
    plain = [_make_level(factor * width).to(dtype) for factor, _divisor in _LEVELS]
    packed = [_make_level(factor * width).to(dtype) for factor, _divisor in _LEVELS]
    for level in packed:
        pack_convolutions(level)
    inputs = [
        torch.randn(batch_size, factor * width, max(1, side // divisor), max(1, side // divisor), dtype=dtype)
        for factor, divisor in _LEVELS
    ]
    times = [(_time(plain, inputs), _time(packed, inputs)) for _round in range(1 + _ROUNDS)][1:]
    return min(of_plain for of_plain, _ in times) / min(of_packed for _, of_packed in times)


def _make_level(channels: int) -> nn.Module:
    """A convolution, a norm and an activation, frozen."""
    convolution = nn.Conv2d(channels, channels, 3, padding=1)
    return nn.Sequential(convolution, nn.GroupNorm(1, channels), nn.SiLU()).requires_grad_(False)


def _time(levels: list[nn.Module], inputs: list[Tensor]) -> float:
    """CPU seconds, so that other programs do not count."""
    start = time.process_time()
    for level, x in zip(levels, inputs, strict=True):
        level(x.detach().requires_grad_()).sum().backward()
    return time.process_time() - start
