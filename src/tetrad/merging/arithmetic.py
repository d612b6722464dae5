"""How tensors of several models become one: sums, differences, SLERP, TIES and DARE.

All tensors are float32 and of one shape. To save memory, functions may overwrite the tensors that they are given.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Generator, Tensor

_PARALLEL = 1e-6  # sine of an angle below which two tensors have one direction


def add_weighted(tensors: Iterable[Tensor], weights: Sequence[float]) -> Tensor:
    """Σ wᵢ·Xᵢ.  A weight of 0 leaves its tensor out, so that 1·A + 0·B is A bit for bit."""
    terms = (tensor.mul_(weight) for tensor, weight in zip(tensors, weights, strict=True) if weight)
    total = next(terms)
    for term in terms:
        total += term
    return total


def add_differences(a: Tensor, others: Iterable[Tensor], base: Tensor, weights: Sequence[float]) -> Tensor:
    """A + Σ wᵢ·(Bᵢ − C); A1111's "add difference" with one B."""
    for other, weight in zip(others, weights, strict=True):
        a += other.sub_(base).mul_(weight)
    return a


def slerp(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """From A (0) to B (1) on an arc: the direction turns evenly, the norm changes linearly.  [Shoemake 1985]

    The sum of both where they are parallel or one of them is 0, because no arc is defined there.
    """
    norms = [float(torch.linalg.vector_norm(tensor, dtype=torch.float64)) for tensor in (a, b)]
    if not all(norms):
        return add_weighted((a, b), (1 - weight, weight))
    cosine = float(torch.dot(a.flatten(), b.flatten())) / (norms[0] * norms[1])
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    if math.sin(angle) < _PARALLEL:
        return add_weighted((a, b), (1 - weight, weight))
    shares = [math.sin((1 - weight) * angle) / math.sin(angle), math.sin(weight * angle) / math.sin(angle)]
    norm = (1 - weight) * norms[0] + weight * norms[1]
    return add_weighted((a, b), [share * norm / own for share, own in zip(shares, norms, strict=True)])


def ties(a: Tensor, others: Sequence[Tensor], base: Tensor, weights: Sequence[float], density: float) -> Tensor:
    """A plus the mean of the weighted differences Bᵢ − C that agree with the sign of most.  [Yadav et al. 2023]

    Of each difference only the share `density` with the largest magnitude is kept. The sign of an element is that of
    the sum of the differences.
    """
    differences = torch.stack([_keep_largest(other - base, density) for other in others])
    agrees = differences.sign() == differences.sum(0).sign()
    counts = agrees.sum(0).clamp_(min=1)
    factors = torch.tensor(weights).reshape(-1, *[1] * a.ndim)
    return a.add_(differences.mul_(agrees).mul_(factors).sum(0).div_(counts))


def _keep_largest(difference: Tensor, density: float) -> Tensor:
    """The elements with the largest magnitude, all others 0; elements as large as the smallest of them are kept too."""
    dropped = difference.numel() - max(1, int(density * difference.numel()))
    if dropped < 1:
        return difference
    magnitudes = difference.abs()
    return difference.mul_(magnitudes > magnitudes.flatten().kthvalue(dropped).values)


def dare(
    a: Tensor, others: Iterable[Tensor], base: Tensor, weights: Sequence[float], density: float, rng: Generator
) -> Tensor:
    """A + Σ wᵢ·dᵢ, where of each difference Bᵢ − C a random share is dropped and the rest enlarged by 1 / density.

    [Yu et al. 2024]
    """
    for other, weight in zip(others, weights, strict=True):
        is_kept = torch.rand(a.shape, generator=rng) < density
        a += (other - base).mul_(is_kept).mul_(weight / density)
    return a
