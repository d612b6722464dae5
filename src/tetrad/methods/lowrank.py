"""One branch of a LoRA: (α / r) B A beside a layer, with DoRA's magnitudes and what is left out of a step at random."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from tetrad.methods.base import Around, Change

Product = Callable[[Tensor, Tensor], Tensor]  # of an input and a weight


class LowRank(nn.Module):
    """(α / r) B A, with A (r, in, …) and B (out, r, …); of a convolution, A has its kernel and B is 1×1.

    With a magnitude m (out, 1, …) the layer becomes m (W + (α / r) B A) / ‖W + (α / r) B A‖, the norm of each output's
    row.  [Liu et al. 2024, eq. 5]
    """

    def __init__(self, down: Tensor, up: Tensor, alpha: float, magnitude: Tensor | None = None) -> None:
        super().__init__()
        self.down = nn.Parameter(down.float().clone())
        self.up = nn.Parameter(up.float().clone())
        self.magnitude = None if magnitude is None else nn.Parameter(magnitude.float().clone())
        self.alpha = alpha
        self.scale = alpha / len(down)

    @classmethod
    def fresh(cls, layer: nn.Module, rank: int, alpha: float, rng: Generator) -> Self:
        """A random, B zero: the sum is zero, and B has a gradient at once."""
        weight = weight_of(layer)
        down = torch.empty(rank, *weight.shape[1:])
        nn.init.kaiming_uniform_(down, a=5**0.5, generator=rng)
        ones = [1] * (weight.ndim - 2)
        return cls(down.to(weight.device), torch.zeros(weight.shape[0], rank, *ones, device=weight.device), alpha)

    def weigh(self, layer: nn.Module) -> None:
        """Take the layer's magnitudes as they are, so that at first nothing changes."""
        weight = weight_of(layer)
        norm = row_norms(self, weight, row_squares(weight))
        self.magnitude = nn.Parameter(norm.float().reshape(-1, *[1] * (weight.ndim - 1)))

    @torch.no_grad()
    def shrink(self, limit: float) -> None:
        """Scale A and B alike, so that the norm of (α / r) B A is at most `limit`."""
        down, up = self.down.flatten(1), self.up.flatten(1)
        # ‖B A‖² = Σ (BᵀB) ∘ (A Aᵀ): two small squares instead of one matrix as large as the layer.
        norm = self.scale * ((up.T @ up) * (down @ down.T)).sum().clamp(min=0).sqrt()
        root = (limit / norm.clamp(min=limit)).sqrt()
        self.down.mul_(root)
        self.up.mul_(root)


@dataclass(frozen=True)
class LeftOut:
    """What a step leaves out at random, so that a LoRA leans on no single part of itself.

    Drawn from torch's own generator, which the loop seeds for each step.
    """

    outputs: float = 0.0  # share of the r numbers of each position
    ranks: float = 0.0  # share of the ranks, for a whole picture at once
    branches: float = 0.0  # share of the branches, for a whole batch at once

    def thinned(self, inner: Tensor, rank_axis: int) -> Tensor:
        """The r numbers of each position, some of them zero and the others larger to make up for it."""
        inner = F.dropout(inner, self.outputs) if self.outputs else inner
        if not self.ranks:
            return inner
        shape = [1] * inner.ndim
        shape[0], shape[rank_axis] = inner.shape[0], inner.shape[rank_axis]
        return inner * F.dropout(torch.ones(shape, device=inner.device, dtype=inner.dtype), self.ranks)

    def skips(self) -> bool:
        """Whether a branch sits this step out; asked of the CPU's generator, so that no device has to wait."""
        return bool(self.branches) and torch.is_grad_enabled() and torch.rand(()).item() < self.branches


NOTHING = LeftOut()


def beside(layer: nn.Module, branch: LowRank, strength: float = 1.0, left_out: LeftOut = NOTHING) -> Change:
    """The change that puts a branch beside a layer, with no more to do in a step than its options ask for."""
    if branch.magnitude is None:
        change = added(low_output(layer, branch, branch.scale * strength, left_out))
    else:
        change = weighed(layer, branch, low_output(layer, branch, branch.scale, left_out), strength)
    return sometimes(change, left_out) if left_out.branches else change


def low_output(layer: nn.Module, branch: LowRank, scale: float, left_out: LeftOut) -> Callable[[Tensor], Tensor]:
    """x → scale · B A x."""
    narrow, (widen, rank_axis) = product(layer), (F.conv2d, 1) if isinstance(layer, nn.Conv2d) else (F.linear, -1)
    thins = left_out.outputs > 0 or left_out.ranks > 0

    def low(x: Tensor) -> Tensor:
        # The scale goes on the r numbers in the middle, the smallest tensor there is.
        inner = narrow(x, branch.down.to(x.dtype)) * scale
        if thins and torch.is_grad_enabled():
            inner = left_out.thinned(inner, rank_axis)
        output: Tensor = widen(inner, branch.up.to(x.dtype))
        return output

    return low


def added(low: Callable[[Tensor], Tensor]) -> Change:
    def change(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return call(x) + low(x)

    return change


def weighed(layer: nn.Module, branch: LowRank, low: Callable[[Tensor], Tensor], strength: float) -> Change:
    """y + s ((g - 1) W x + g (α / r) B A x), where g = m / ‖W + (α / r) B A‖ and the norm counts as a constant.

    [Liu et al. 2024, §4.3]
    """
    wide, weight, bias = product(layer), weight_of(layer), layer.bias
    squares = row_squares(weight)
    around_it = [1] * (weight.ndim - 2)  # where a convolution's output has rows and columns
    bias_there = bias.reshape(-1, *around_it) if isinstance(bias, Tensor) else None

    def change(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        y = call(x)
        if isinstance(layer.forward, Around) and layer.forward.call is call:
            base = y if bias_there is None else y - bias_there
        else:  # what others have put around the layer before is not ours to weigh
            base = wide(x, weight)
        assert branch.magnitude is not None
        gain = branch.magnitude.flatten() / row_norms(branch, weight, squares)
        gain = gain.to(y.dtype).reshape(-1, *around_it)
        return y + strength * ((gain - 1) * base + gain * low(x))

    return change


def sometimes(change: Change, left_out: LeftOut) -> Change:
    """The change, but for the steps that a draw leaves it out of."""

    def drawn(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        output: Tensor = call(x) if left_out.skips() else change(call, x)
        return output

    return drawn


def product(layer: nn.Module) -> Product:
    """How a layer multiplies its input with a weight of its own shape."""
    if not isinstance(layer, nn.Conv2d):
        return F.linear
    stride, padding, dilation = layer.stride, layer.padding, layer.dilation

    def convolved(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, stride=stride, padding=padding, dilation=dilation)

    return convolved


def weight_of(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


@torch.no_grad()
def row_squares(weight: Tensor) -> Tensor:
    """‖W‖² of each output's row, (out,); in float32 at least."""
    rows = weight.flatten(1)
    return rows.to(torch.promote_types(rows.dtype, torch.float32)).square().sum(1)


@torch.no_grad()
def row_norms(branch: LowRank, weight: Tensor, squares: Tensor) -> Tensor:
    """‖W + s B A‖ of each output's row, (out,), of rows that are never made.

    ‖w + s b A‖² = ‖w‖² + 2 s (w Aᵀ) · b + s² (b A Aᵀ) · b, with w and b a row of W and of B.
    """
    down, up, s = branch.down.flatten(1), branch.up.flatten(1), branch.scale
    with torch.autocast(weight.device.type, enabled=False):  # gains near 1 need their digits
        crossed = F.linear(weight.flatten(1), down.to(weight.dtype)).to(squares.dtype)
        whole = squares + (2 * s * crossed * up).sum(1) + (s * s * (up @ (down @ down.T)) * up).sum(1)
    return whole.clamp(min=torch.finfo(squares.dtype).tiny).sqrt()
