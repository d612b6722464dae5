"""The LoRA branch of one layer: (α / r) B A added to its output, with DoRA's magnitudes and dropout."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from tetrad.methods.base import Around, ForwardChange
from tetrad.methods.lora.fused_linear import add_low_rank, can_fuse
from tetrad.models.base import without_autocast

_Operation = Callable[[Tensor, Tensor], Tensor]  # of an input and a weight


class LowRankBranch(nn.Module):
    """(α / r) B A, with A (r, in, …) and B (out, r, …); for a convolution, A has its kernel and B is 1×1.

    With a magnitude m (out, 1, …) the layer's weight becomes m (W + (α / r) B A) / ‖W + (α / r) B A‖, with the norm of
    each output's row.  [Liu et al. 2024, eq. 5]
    """

    def __init__(self, down: Tensor, up: Tensor, alpha: float, magnitude: Tensor | None = None) -> None:
        super().__init__()
        self.down = nn.Parameter(down.float().clone())
        self.up = nn.Parameter(up.float().clone())
        self.magnitude = None if magnitude is None else nn.Parameter(magnitude.float().clone())
        self.alpha = alpha
        self.scale = alpha / len(down)

    @classmethod
    def initialize(cls, layer: nn.Module, rank: int, alpha: float, rng: Generator) -> Self:
        """A random, B zero: the change is zero, and B has a gradient from the first step on."""
        weight = weight_of(layer)
        down = torch.empty(rank, *weight.shape[1:])
        nn.init.kaiming_uniform_(down, a=5**0.5, generator=rng)
        ones = [1] * (weight.ndim - 2)
        return cls(down.to(weight.device), torch.zeros(weight.shape[0], rank, *ones, device=weight.device), alpha)

    def init_magnitude(self, layer: nn.Module) -> None:
        """Make it a DoRA: set the magnitudes to the current norms, so that nothing changes yet."""
        weight = weight_of(layer)
        norm = _row_norms(self, weight, _row_squared_norms(weight))
        self.magnitude = nn.Parameter(norm.float().reshape(-1, *[1] * (weight.ndim - 1)))

    @torch.no_grad()
    def limit_norm(self, limit: float) -> None:
        """Scale A and B by the same factor, so that the norm of (α / r) B A is at most `limit`."""
        down, up = self.down.flatten(1), self.up.flatten(1)
        # ‖B A‖² = Σ (BᵀB) ∘ (A Aᵀ): two r × r matrices instead of one as large as the layer's weight.
        norm = self.scale * ((up.T @ up) * (down @ down.T)).sum().clamp(min=0).sqrt()
        factor = (limit / norm.clamp(min=limit)).sqrt()
        self.down.mul_(factor)
        self.up.mul_(factor)


@dataclass(frozen=True)
class LoraDropout:
    """Dropout of a LoRA during training; uses torch's global generator, which the training loop seeds for each step."""

    outputs: float = 0.0  # probability of dropping a single value of A x
    ranks: float = 0.0  # probability of dropping a rank, for each image
    branches: float = 0.0  # probability of skipping the whole branch, for a batch

    def apply(self, inner: Tensor, rank_axis: int) -> Tensor:
        """A x with dropout; the values that are kept are scaled up."""
        inner = F.dropout(inner, self.outputs) if self.outputs else inner
        if not self.ranks:
            return inner
        shape = [1] * inner.ndim
        shape[0], shape[rank_axis] = inner.shape[0], inner.shape[rank_axis]
        return inner * F.dropout(torch.ones(shape, device=inner.device, dtype=inner.dtype), self.ranks)

    def should_skip_branch(self) -> bool:
        """Whether to skip the branch in this step; drawn on the CPU, so that no device has to synchronize."""
        return bool(self.branches) and torch.is_grad_enabled() and torch.rand(()).item() < self.branches


NO_DROPOUT = LoraDropout()


def with_branch(
    layer: nn.Module, branch: LowRankBranch, strength: float = 1.0, dropout: LoraDropout = NO_DROPOUT
) -> ForwardChange:
    """The change of a layer's forward by a branch; options that are off cost nothing."""
    if branch.magnitude is None:
        change = _add_low_rank(layer, branch, branch.scale * strength, dropout)
    else:
        change = dora(layer, branch, _make_low_rank_forward(layer, branch, branch.scale, dropout), strength)
    return _with_module_dropout(change, dropout) if dropout.branches else change


def _make_low_rank_forward(
    layer: nn.Module, branch: LowRankBranch, scale: float, dropout: LoraDropout
) -> Callable[[Tensor], Tensor]:
    """x → scale · B A x."""
    project_down, (project_up, rank_axis) = (
        operation_of(layer),
        ((F.conv2d, 1) if isinstance(layer, nn.Conv2d) else (F.linear, -1)),
    )
    has_dropout = dropout.outputs > 0 or dropout.ranks > 0

    def low_rank(x: Tensor) -> Tensor:
        # The scale is applied to A x, the smallest tensor.
        inner = project_down(x, branch.down.to(x.dtype)) * scale
        if has_dropout and torch.is_grad_enabled():
            inner = dropout.apply(inner, rank_axis)
        output: Tensor = project_up(inner, branch.up.to(x.dtype))
        return output

    return low_rank


def _add_low_rank(layer: nn.Module, branch: LowRankBranch, scale: float, dropout: LoraDropout) -> ForwardChange:
    """y + scale · B A x; one autograd node where nothing stands between the layer and its branch."""
    low_rank = _make_low_rank_forward(layer, branch, scale, dropout)

    def change(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        is_plain = not (dropout.outputs or dropout.ranks) or not torch.is_grad_enabled()
        if is_plain and can_fuse(layer, call):
            return add_low_rank(layer, branch.down, branch.up, scale, x)
        return call(x) + low_rank(x)

    return change


def dora(
    layer: nn.Module, branch: LowRankBranch, low_rank: Callable[[Tensor], Tensor], strength: float
) -> ForwardChange:
    """y + s ((g - 1) W x + g (α / r) B A x), where g = m / ‖W + (α / r) B A‖ and the norm has no gradient.

    [Liu et al. 2024, §4.3]
    """
    operation, weight, bias = operation_of(layer), weight_of(layer), layer.bias
    squares = _row_squared_norms(weight)
    spatial_ones = [1] * (weight.ndim - 2)  # for the height and width of a convolution's output
    broadcast_bias = bias.reshape(-1, *spatial_ones) if isinstance(bias, Tensor) else None

    def change(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        y = call(x)
        if isinstance(layer.forward, Around) and layer.forward.call is call:
            base = y if broadcast_bias is None else y - broadcast_bias
        else:  # another change is around the layer: DoRA scales only W x, not that change
            base = operation(x, weight)
        assert branch.magnitude is not None
        gain = branch.magnitude.flatten() / _row_norms(branch, weight, squares)
        gain = gain.to(y.dtype).reshape(-1, *spatial_ones)
        return y + strength * ((gain - 1) * base + gain * low_rank(x))

    return change


def _with_module_dropout(change: ForwardChange, dropout: LoraDropout) -> ForwardChange:
    """The change, skipped at random."""

    def apply(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        output: Tensor = call(x) if dropout.should_skip_branch() else change(call, x)
        return output

    return apply


def operation_of(layer: nn.Module) -> _Operation:
    """The layer's multiplication of an input with a weight of its shape, without the bias."""
    if not isinstance(layer, nn.Conv2d):
        return F.linear
    stride, padding, dilation = layer.stride, layer.padding, layer.dilation

    def convolve(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, stride=stride, padding=padding, dilation=dilation)

    return convolve


def weight_of(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


@torch.no_grad()
def _row_squared_norms(weight: Tensor) -> Tensor:
    """‖W‖² of each output's row, (out,), in float32 or float64."""
    rows = weight.flatten(1)
    return rows.to(torch.promote_types(rows.dtype, torch.float32)).square().sum(1)


@torch.no_grad()
def _row_norms(branch: LowRankBranch, weight: Tensor, weight_squared_norms: Tensor) -> Tensor:
    """‖W + s B A‖ of each output's row, (out,), without computing W + s B A.

    ‖w + s b A‖² = ‖w‖² + 2 s (w Aᵀ) · b + s² (b A Aᵀ) · b, with w and b a row of W and of B.
    """
    down, up, s = branch.down.flatten(1), branch.up.flatten(1), branch.scale
    with without_autocast(weight.device):  # half precision is too coarse for gains near 1
        cross_terms = F.linear(weight.flatten(1), down.to(weight.dtype)).to(weight_squared_norms.dtype)
        squared_norms = (
            weight_squared_norms + (2 * s * cross_terms * up).sum(1) + (s * s * (up @ (down @ down.T)) * up).sum(1)
        )
    return squared_norms.clamp(min=torch.finfo(weight_squared_norms.dtype).tiny).sqrt()
