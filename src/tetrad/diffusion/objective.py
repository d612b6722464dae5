"""What training minimises.  Three slots, each filled by one small function; the step never branches."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from tetrad.diffusion.noise import Noise, snr


def gaussian(z: Tensor, rng: Generator) -> Tensor:
    """ε ~ N(0, 1), shaped as z and on its device; drawn on the CPU, so that a seed is the same on every device."""
    return torch.randn(z.shape, generator=rng).to(z.device, non_blocking=True)


@dataclass(frozen=True)
class Offset:
    """ε plus one number for each channel, so that overall brightness is learned too.  [Guttenberg 2023]"""

    amount: float = 0.05

    def __call__(self, z: Tensor, rng: Generator) -> Tensor:
        return gaussian(z, rng) + self.amount * torch.randn((*z.shape[:2], 1, 1), generator=rng).to(z.device)


def uniform(noise: Noise, t: Tensor) -> Tensor:
    """Every time counts the same, shape (B,)."""
    return torch.ones(len(t), device=t.device)


@dataclass(frozen=True)
class MinSnr:
    """min(SNR, γ) of the clean latent's error, whatever the network predicts.  [Hang et al. 2023]

    For ε that is min(SNR, γ) / SNR, for v min(SNR, γ) / (SNR + 1).
    """

    gamma: float = 5.0

    def __call__(self, noise: Noise, t: Tensor) -> Tensor:
        return snr(noise, t).clamp(max=self.gamma) / noise.error_scale(t)


def squared(output: Tensor, target: Tensor) -> Tensor:
    """(output - target)², element by element, in float32."""
    return F.mse_loss(output.float(), target.float(), reduction="none")


@dataclass(frozen=True)
class Objective:
    noise: Callable[[Tensor, Generator], Tensor] = gaussian
    weight: Callable[[Noise, Tensor], Tensor] = uniform
    error: Callable[[Tensor, Tensor], Tensor] = squared
