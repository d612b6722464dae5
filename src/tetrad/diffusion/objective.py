"""What training minimises.  Slots, each filled by one small function; the step never branches."""

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
        return gaussian(z, rng) + self.amount * gaussian(z[:, :, :1, :1], rng)


@dataclass(frozen=True)
class Pyramid:
    """ε with coarser and coarser noise laid over it, each weaker by `discount`, at unit spread.  [Whitaker 2023]

    Like an offset, but for shapes of every size: the k-th layer is 2 to 4 times coarser than the one before.
    """

    layers: int = 6
    discount: float = 0.3

    def __call__(self, z: Tensor, rng: Generator) -> Tensor:
        eps = torch.randn(z.shape, generator=rng)
        coarseness = 1.0
        for layer in range(1, self.layers + 1):
            coarseness *= 2 + 2 * torch.rand((), generator=rng).item()
            height, width = (max(1, int(side / coarseness)) for side in z.shape[2:])
            coarse = torch.randn((*z.shape[:2], height, width), generator=rng)
            eps = eps + self.discount**layer * F.interpolate(coarse, z.shape[2:], mode="bilinear")
            if height == width == 1:
                break
        return (eps / eps.std()).to(z.device, non_blocking=True)


def as_drawn(eps: Tensor, rng: Generator) -> Tensor:
    """The noise that is asked for is the noise that is seen."""
    return eps


@dataclass(frozen=True)
class Perturbed:
    """More noise in what is seen than is asked for, so that the network forgives its own errors.  [Ning et al. 2023]"""

    amount: float = 0.1

    def __call__(self, eps: Tensor, rng: Generator) -> Tensor:
        return eps + self.amount * gaussian(eps, rng)


LEAST = 1e-4  # stands for a signal-to-noise ratio of 0, at the end of a zero-terminal schedule: the limits are finite


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
        return snr(noise, t).clamp(LEAST, self.gamma) / noise.error_scale(t).clamp(min=LEAST)


def debiased(noise: Noise, t: Tensor) -> Tensor:
    """√SNR of the clean latent's error, SNR counted up to 1000.  [Yu et al. 2024]

    For ε that is 1 / √SNR, for v √SNR / (SNR + 1); kohya's trainer leaves √SNR out of the latter.
    """
    return snr(noise, t).clamp(LEAST, 1000).sqrt() / noise.error_scale(t).clamp(LEAST, 1000)


def squared(output: Tensor, target: Tensor) -> Tensor:
    """(output - target)², element by element, in float32."""
    return F.mse_loss(output.float(), target.float(), reduction="none")


def absolute(output: Tensor, target: Tensor) -> Tensor:
    """|output - target|, element by element, in float32: a few wild places count less."""
    return F.l1_loss(output.float(), target.float(), reduction="none")


@dataclass(frozen=True)
class Huber:
    """Squared where the error d is small beside c, absolute where it is large: 2c (√(d² + c²) - c).

    `smooth` leaves the leading c out, so that far out it is twice the absolute error whatever c.  [Charbonnier 1994]
    """

    c: float = 0.1
    smooth: bool = False

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        d2 = (output.float() - target.float()).square()
        # d² / (√(d² + c²) + c) is √(d² + c²) - c without losing the digits of a small d.
        return (2 if self.smooth else 2 * self.c) * d2 / ((d2 + self.c**2).sqrt() + self.c)


@dataclass(frozen=True)
class Objective:
    """The noise that is drawn, how it is seen, how much each time counts, and what an error costs."""

    noise: Callable[[Tensor, Generator], Tensor] = gaussian
    seen: Callable[[Tensor, Generator], Tensor] = as_drawn
    weight: Callable[[Noise, Tensor], Tensor] = uniform
    error: Callable[[Tensor, Tensor], Tensor] = squared
