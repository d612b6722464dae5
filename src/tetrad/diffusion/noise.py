"""How a clean latent becomes noise, and what a network is asked to say about it.

Every path here is z_t = α_t z + σ_t ε.  A `Noise` is its two scales and the network's convention.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

Prediction = Literal["epsilon", "v"]


class Noise(Protocol):
    def times(self, u: Tensor) -> Tensor:
        """The training times at quantiles u (B,) in 0…1, shape (B,)."""
        ...

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α_t and σ_t, each (B, 1, 1, 1)."""
        ...

    def target(self, z: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the network should output, shaped as z."""
        ...

    def denoised(self, output: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
        """The clean latent that an output stands for."""
        ...

    def error_scale(self, t: Tensor) -> Tensor:
        """How many times the squared error of the clean latent the squared error of the output is, shape (B,)."""
        ...


@dataclass(frozen=True)
class DDPM:
    """Variance-preserving noise over a table of discrete times.  [Ho et al. 2020, eq. 4; v: Salimans & Ho 2022]"""

    alphas_cumprod: Tensor  # ᾱ_t, (T,)
    prediction: Prediction = "epsilon"

    def times(self, u: Tensor) -> Tensor:
        return (u * len(self.alphas_cumprod)).long()

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        a2 = self.alphas_cumprod.to(t.device, non_blocking=True)[t].view(-1, 1, 1, 1)
        return a2.sqrt(), (1 - a2).sqrt()

    def target(self, z: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        a, s = self.scales(t)
        return eps if self.prediction == "epsilon" else a * eps - s * z

    def denoised(self, output: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
        a, s = self.scales(t)
        return (z_t - s * output) / a if self.prediction == "epsilon" else a * z_t - s * output

    def error_scale(self, t: Tensor) -> Tensor:
        return snr(self, t) + (self.prediction == "v")


def corrupt(noise: Noise, z: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """z_t = α_t z + σ_t ε, shaped as z."""
    a, s = noise.scales(t)
    return a * z + s * eps


def snr(noise: Noise, t: Tensor) -> Tensor:
    """Signal over noise, α_t² / σ_t², shape (B,).  Zero at the last time of a zero-terminal schedule."""
    a, s = noise.scales(t)
    return (a / s).square().flatten()


def scaled_linear(steps: int = 1000, start: float = 0.00085, end: float = 0.012) -> Tensor:
    """Stable Diffusion's table of ᾱ_t, shape (T,), float32.  [Rombach et al. 2022]"""
    betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0).float()


def zero_terminal(alphas_cumprod: Tensor) -> Tensor:
    """A table of ᾱ_t shifted and scaled so that its last time is nothing but noise.  [Lin et al. 2023, algorithm 1]

    √ᾱ_T becomes 0 and √ᾱ_0 stays. There noise says nothing of the picture, so only a network that predicts v can learn.
    """
    a = alphas_cumprod.double().sqrt()
    return ((a - a[-1]) * a[0] / (a[0] - a[-1])).square().float()
