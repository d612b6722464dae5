"""Randomness as a pure function of seed and step: any step can be computed without those before it."""

import hashlib

import torch
from torch import Generator, Tensor

_GOLDEN_RATIO = 0.6180339887498949  # its multiples, modulo 1, are spread most evenly


def derive_seed(seed: int, step: int, purpose: str) -> int:
    """A seed of 63 bits that depends only on its three arguments."""
    digest = hashlib.blake2b(f"{seed}/{step}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, step: int, purpose: str) -> Generator:
    """A CPU generator that depends only on its three arguments."""
    return Generator().manual_seed(derive_seed(seed, step, purpose))


def stratified_quantiles(seed: int, first: int, n: int) -> Tensor:
    """Values number first … first + n - 1 of a low-discrepancy sequence in 0…1, shape (n,).

    The additive recurrence u_k = frac(u_0 + k φ): any run of consecutive values covers 0…1 almost evenly, within a
    batch and across batches, so the loss averages over all times sooner than with independent random values.
    """
    start = torch.rand(1, generator=generator(seed, 0, "times"), dtype=torch.float64)
    return (
        ((start + _GOLDEN_RATIO * torch.arange(first, first + n, dtype=torch.float64)) % 1.0)
        .float()
        .clamp(max=1 - 2**-24)
    )
