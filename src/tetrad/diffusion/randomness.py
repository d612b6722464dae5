"""Randomness as a pure function: what any step draws can be computed without running the steps before it."""

import hashlib

import torch
from torch import Generator, Tensor

GOLDEN = 0.6180339887498949  # the fraction whose multiples leave the smallest gaps


def number(seed: int, step: int, purpose: str) -> int:
    """A seed of 63 bits that depends on its three arguments and on nothing else."""
    digest = hashlib.blake2b(f"{seed}/{step}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, step: int, purpose: str) -> Generator:
    """A CPU generator that depends on its three arguments and on nothing else."""
    return Generator().manual_seed(number(seed, step, purpose))


def stratified(seed: int, first: int, n: int) -> Tensor:
    """Numbers first … first + n - 1 of an even spread over 0…1, shape (n,).

    The additive recurrence u_k = frac(u_0 + k φ): any run of consecutive numbers covers 0…1 almost evenly, within a
    batch and across the batches after it, so the loss is averaged over all times sooner than by independent draws.
    """
    start = torch.rand(1, generator=generator(seed, 0, "times"), dtype=torch.float64)
    return ((start + GOLDEN * torch.arange(first, first + n, dtype=torch.float64)) % 1.0).float().clamp(max=1 - 2**-24)
