"""Low-rank approximation of a layer's change by its singular value decomposition: the best one of every rank."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from tetrad.diffusion.randomness import generator

_EXACT_SIDE = 512  # matrices up to this side are decomposed exactly, which takes a CPU a quarter of a second
_SKETCH_SHARE = 4  # a sketch of more than a quarter of the matrix is no faster than the exact decomposition
_FIRST_SKETCH = 64  # the rank to begin with where only an energy is wanted
_MAX_SKETCHED_ENERGY = 0.99  # more is seldom held by a quarter of the ranks
_OVERSAMPLING = 8
_MIN_POWER_ITERATIONS, _MAX_POWER_ITERATIONS = 3, 8
_CONVERGED_GAIN = 1e-4  # another iteration that finds less of the energy is the last one
_ROUNDING = 1e-7  # of float32
_NOISE = 1e-6  # singular values below this share of the largest are rounding errors of float32


@dataclass(frozen=True)
class RankLimit:
    """How many ranks a layer keeps: no more than `rank` (None: any), nor than hold `energy` of its squared norm."""

    rank: int | None = None
    energy: float = 1.0


@dataclass(frozen=True)
class Factors:
    """up (out, r) · down (r, in), the best approximation of a matrix with this rank, each with half of σ."""

    up: Tensor
    down: Tensor
    squares: Tensor  # σ² of each rank, decreasing: its part of the squared norm, (r,) in float64 on the CPU
    lost: float = 0.0  # the squared norm of what these ranks leave out

    @classmethod
    def exact(cls, up: Tensor, down: Tensor) -> Self:
        """A product as it is; each rank counts for the same part of it."""
        up_squares, down_squares = up.T.double() @ up.double(), down.double() @ down.T.double()
        total = float((up_squares * down_squares).sum().clamp(min=0))
        return cls(up, down, torch.full((len(down),), total / max(1, len(down)), dtype=torch.float64))

    @property
    def total(self) -> float:
        """The squared norm of the whole matrix."""
        return float(self.squares.sum()) + self.lost

    def truncate(self, rank: int) -> Self:
        lost = self.lost + float(self.squares[rank:].sum())
        return type(self)(self.up[:, :rank], self.down[:rank], self.squares[:rank], lost)

    def limit(self, limit: RankLimit) -> Self:
        """The fewest ranks that hold the energy, none for what is only a rounding error, or as many as allowed."""
        if not self.total or not len(self.squares):
            return self.truncate(0)
        significant = int((self.squares > self.squares[0] * _NOISE**2).sum())
        enough = int(torch.searchsorted(self.squares.cumsum(0), limit.energy * self.total)) + 1
        return self.truncate(min(significant, enough, len(self.squares) if limit.rank is None else limit.rank))


def factorize(matrix: Tensor, limit: RankLimit) -> Factors:
    """The best approximation of a matrix (out, in) within the limit.

    Large matrices are decomposed by a random sketch, which grows until it holds the energy.
    """
    total = float(torch.linalg.vector_norm(matrix, dtype=torch.float64)) ** 2
    shorter_side = min(matrix.shape)
    rank = limit.rank or (_FIRST_SKETCH if limit.energy <= _MAX_SKETCHED_ENERGY else shorter_side)
    while shorter_side > _EXACT_SIDE and rank <= shorter_side // _SKETCH_SHARE:
        factors = _sketch(matrix, rank, total)
        if rank == limit.rank or float(factors.squares.sum()) >= limit.energy * total:
            return factors.limit(limit)
        rank = min(2 * rank, limit.rank or shorter_side)
    u, sigma, v = torch.linalg.svd(matrix, full_matrices=False)
    return _build(u, sigma, v).limit(limit)


def factorize_product(up: Tensor, down: Tensor, limit: RankLimit) -> Factors:
    """The best approximation of up (out, r) · down (r, in) within the limit, from matrices no larger than r × r."""
    if up.shape[1] >= min(len(up), down.shape[1]):
        return factorize(up @ down, limit)
    left, right = torch.linalg.qr(up.double()), torch.linalg.qr(down.double().T)
    u, sigma, v = torch.linalg.svd(left.R @ right.R.T)
    # What cancels out leaves only the rounding of the factors themselves, which is no change.
    rank = int((sigma > _ROUNDING * up.norm() * down.norm()).sum())
    factors = _build(left.Q @ u[:, :rank], sigma[:rank], v[:rank] @ right.Q.T)
    return replace(factors, up=factors.up.to(up.dtype), down=factors.down.to(down.dtype)).limit(limit)


def _sketch(matrix: Tensor, rank: int, total: float) -> Factors:
    """The randomized decomposition up to a rank.  [Halko et al. 2011, algorithm 4.4]

    It iterates until the ranks hold no more of the energy than before.
    """
    rng = generator(0, 0, "svd")
    sketch = matrix @ torch.randn(matrix.shape[1], rank + _OVERSAMPLING, generator=rng).to(matrix)
    held = 0.0
    for iteration in range(1, _MAX_POWER_ITERATIONS + 1):
        projected = matrix.T @ torch.linalg.qr(sketch).Q
        sigma = torch.linalg.eigvalsh(projected.T @ projected).clamp(min=0)[-rank:]
        previous, held = held, float(sigma.sum())
        sketch = matrix @ projected
        if iteration >= _MIN_POWER_ITERATIONS and held - previous <= _CONVERGED_GAIN * total:
            break
    basis = torch.linalg.qr(sketch).Q
    u, singular_values, v = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    factors = _build((basis @ u)[:, :rank], singular_values[:rank], v[:rank])
    return replace(factors, lost=max(0.0, total - factors.total))


def _build(u: Tensor, sigma: Tensor, v: Tensor) -> Factors:
    roots = sigma.sqrt()
    return Factors(u * roots, roots[:, None] * v, sigma.double().square().cpu())
