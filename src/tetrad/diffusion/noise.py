"""How noise is added to a clean latent, and what the network predicts.

Every path is z_t = α_t z + σ_t ε.  A `Noise` has the two scales and the network's prediction type.
"""

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

Prediction = Literal["epsilon", "v", "flow"]
PREDICTION_NAMES: dict[Prediction, str] = {"epsilon": "ε", "v": "v", "flow": "flow"}
MIN_ALPHA_CUMPROD = 2.0**-24  # replaces an ᾱ of zero, whose noise level would be infinite


class Noise(Protocol):
    """A path from clean latents to noise, and what the network predicts on it."""

    @property
    def prediction(self) -> Prediction:
        """ε, v, or the flow ε - z."""
        ...

    @property
    def is_zero_terminal(self) -> bool:
        """Whether z_t is pure noise at the last time."""
        ...

    @property
    def last_time(self) -> float:
        """The time with the most noise."""
        ...

    def with_zero_terminal(self) -> "Noise":
        """The same path, rescaled so that z_t is pure noise at the last time."""
        ...

    def times(self, u: Tensor) -> Tensor:
        """The training times at quantiles u (B,) in 0…1, shape (B,)."""
        ...

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α_t and σ_t, each (B, 1, 1, 1)."""
        ...

    def target(self, z: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the network should output, shaped as z."""
        ...

    def predict_clean(self, output: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
        """The clean latent, computed from z_t and the network's output."""
        ...

    def error_scale(self, t: Tensor) -> Tensor:
        """Squared error of the output / squared error of the clean latent, shape (B,)."""
        ...


@dataclass(frozen=True)
class DDPM:
    """Variance-preserving noise at discrete times.  [Ho et al. 2020, eq. 4; v: Salimans & Ho 2022]"""

    alphas_cumprod: Tensor  # ᾱ_t, (T,)
    prediction: Prediction = "epsilon"

    @property
    def is_zero_terminal(self) -> bool:
        return bool(self.alphas_cumprod[-1] < 10 * MIN_ALPHA_CUMPROD)

    @property
    def last_time(self) -> float:
        return len(self.alphas_cumprod) - 1

    def with_zero_terminal(self) -> "DDPM":
        return replace(self, alphas_cumprod=rescale_zero_terminal_snr(self.alphas_cumprod))

    def times(self, u: Tensor) -> Tensor:
        return (u * len(self.alphas_cumprod)).long()

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        a2 = self.alphas_cumprod.to(t.device, non_blocking=True)[t].view(-1, 1, 1, 1)
        return a2.sqrt(), (1 - a2).sqrt()

    def target(self, z: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        a, s = self.scales(t)
        return eps if self.prediction == "epsilon" else a * eps - s * z

    def predict_clean(self, output: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
        a, s = self.scales(t)
        return (z_t - s * output) / a if self.prediction == "epsilon" else a * z_t - s * output

    def error_scale(self, t: Tensor) -> Tensor:
        return snr(self, t) + (self.prediction == "v")


def corrupt(noise: Noise, z: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """z_t = α_t z + σ_t ε, shaped as z."""
    a, s = noise.scales(t)
    return a * z + s * eps


def snr(noise: Noise, t: Tensor) -> Tensor:
    """Signal-to-noise ratio α_t² / σ_t², shape (B,).  Zero at the last time of a zero-terminal schedule."""
    a, s = noise.scales(t)
    return (a / s).square().flatten()


def scaled_linear(steps: int = 1000, start: float = 0.00085, end: float = 0.012) -> Tensor:
    """Stable Diffusion's noise schedule ᾱ_t, shape (T,), float32.  [Rombach et al. 2022]"""
    betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0).float()


def rescale_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """ᾱ_t shifted and scaled so that the last time is pure noise.  [Lin et al. 2023, algorithm 1]

    √ᾱ_T becomes 0 and √ᾱ_0 stays. At T, z_t contains nothing of the image, so only v prediction can be trained there.
    """
    a = alphas_cumprod.double().sqrt()
    return ((a - a[-1]) * a[0] / (a[0] - a[-1])).square().float()
