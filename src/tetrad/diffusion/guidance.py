"""Classifier-free guidance: combines the network's outputs with and without the prompt."""

from collections.abc import Sequence

from torch import Tensor


def apply_guidance(unconditional: Tensor, conditionals: Sequence[tuple[Tensor, float]], scale: float) -> Tensor:
    """unconditional + scale · Σ w · (conditional - unconditional), for one prompt or several, each with a weight w.

    [Ho & Salimans 2022; several: Liu et al. 2022]
    """
    out = unconditional
    for output, weight in conditionals:
        out = out + scale * weight * (output - unconditional)
    return out


def rescale_guidance(out: Tensor, conditional: Tensor, amount: float) -> Tensor:
    """Bring the standard deviation of `out` (C, h, w) back towards that of `conditional`.  [Lin et al. 2023, §3.4]"""
    rescaled_out = out * (conditional.std() / out.std())
    return amount * rescaled_out + (1 - amount) * out
