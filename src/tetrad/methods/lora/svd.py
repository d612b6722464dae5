"""Low-rank approximation of a layer's change by its singular value decomposition: the best one of every rank."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from tetrad.diffusion.randomness import generator

_EXACT_SIDE = 512  # matrices up to this side are decomposed exactly, which takes a CPU a quarter of a second
_SKETCH_SHARE = 4  # a sketch of more than a quarter of the matrix is no faster than the exact decomposition
_FIRST_SKETCH = 64  # the rank to begin with where only an energy is wanted
_OVERSAMPLING = 8
_MIN_POWER_ITERATIONS, _MAX_POWER_ITERATIONS = 3, 8
_CONVERGED_GAIN = 1e-4  # another iteration that finds less of the energy is the last one
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
    total: float  # the squared norm of the whole matrix

    def truncate(self, rank: int) -> Self:
        return type(self)(self.up[:, :rank], self.down[:rank], self.squares[:rank], self.total)

    def limit(self, limit: RankLimit) -> Self:
        """The fewest ranks that hold the energy, none for what is only a rounding error, or as many as allowed."""
        if not self.total or not len(self.squares):
            return self.truncate(0)
        significant = int((self.squares > self.squares[0] * _NOISE**2).sum())
        enough = int(torch.searchsorted(self.squares.cumsum(0), limit.energy * self.total)) + 1
        return self.truncate(min(significant, enough, len(self.squares) if limit.rank is None else limit.rank))

    @property
    def lost(self) -> float:
        """The squared norm of what these ranks leave out."""
        return max(0.0, self.total - float(self.squares.sum()))


def factorize(matrix: Tensor, limit: RankLimit) -> Factors:
    """The best approximation of a matrix (out, in) within the limit.

    Large matrices are decomposed by a random sketch, which grows until it holds the energy.
    """
    total, shorter_side = _squared_norm(matrix), min(matrix.shape)
    rank = limit.rank or _FIRST_SKETCH
    while shorter_side > _EXACT_SIDE and rank <= shorter_side // _SKETCH_SHARE:
        factors = _sketch(matrix, rank, total)
        if limit.rank == rank or float(factors.squares.sum()) >= limit.energy * total:
            return factors.limit(limit)
        rank = min(2 * rank, limit.rank or shorter_side)
    u, sigma, v = torch.linalg.svd(matrix, full_matrices=False)
    return _build(u, sigma, v, total).limit(limit)


def factorize_product(up: Tensor, down: Tensor, limit: RankLimit) -> Factors:
    """The best approximation of up (out, r) · down (r, in) within the limit, from matrices no larger than r × r."""
    if up.shape[1] >= min(len(up), down.shape[1]):
        return factorize(up @ down, limit)
    left, right = torch.linalg.qr(up.double()), torch.linalg.qr(down.double().T)
    u, sigma, v = torch.linalg.svd(left.R @ right.R.T)
    total = float(sigma.square().sum())
    factors = _build(left.Q @ u, sigma, v @ right.Q.T, total)
    return Factors(factors.up.to(up.dtype), factors.down.to(down.dtype), factors.squares, total).limit(limit)


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
    return _build((basis @ u)[:, :rank], singular_values[:rank], v[:rank], total)


def _build(u: Tensor, sigma: Tensor, v: Tensor, total: float) -> Factors:
    roots = sigma.sqrt()
    return Factors(u * roots, roots[:, None] * v, sigma.double().square().cpu(), total)


def _squared_norm(matrix: Tensor) -> float:
    return float(torch.linalg.vector_norm(matrix, dtype=torch.float64)) ** 2
