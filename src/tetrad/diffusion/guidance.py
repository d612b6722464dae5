"""From what the network says with and without the prompt to what it is taken to say."""

from collections.abc import Sequence

from torch import Tensor


def guided(without: Tensor, given: Sequence[tuple[Tensor, float]], scale: float) -> Tensor:
    """without + scale · Σ w · (given - without), for one prompt or several, each with its weight.

    [Ho & Salimans 2022; several: Liu et al. 2022]
    """
    out = without
    for output, weight in given:
        out = out + scale * weight * (output - without)
    return out


def rescaled(out: Tensor, given: Tensor, amount: float) -> Tensor:
    """`out` (C, h, w) with its spread brought back towards that of `given`.  [Lin et al. 2023, §3.4]"""
    like_given = out * (given.std() / out.std())
    return amount * like_given + (1 - amount) * out
