"""The training objective: noise, input noise, weight and error are small functions, so the step has no branches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log, prod

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from tetrad.diffusion.noise import Noise, snr
from tetrad.diffusion.timesteps import Timesteps, build_timesteps
from tetrad.settings.loss import Loss

Weight = Callable[[Noise, Tensor], Tensor]  # of the loss at each time, (B,)


def gaussian(z: Tensor, rng: Generator) -> Tensor:
    """ε ~ N(0, 1), shaped as z and on its device; drawn on the CPU, so that a seed gives the same on every device."""
    return torch.randn(z.shape, generator=rng).to(z.device, non_blocking=True)


@dataclass(frozen=True)
class Offset:
    """Noise offset: ε plus a random constant for each channel, so that brightness is trained too.  [Guttenberg 2023]"""

    amount: float = 0.05

    def __call__(self, z: Tensor, rng: Generator) -> Tensor:
        return gaussian(z, rng) + self.amount * gaussian(z[:, :, :1, :1], rng)


@dataclass(frozen=True)
class Pyramid:
    """Pyramid noise: ε plus layers of coarser noise, each weaker by `discount`, at unit variance.  [Whitaker 2023]

    Like a noise offset, but at every scale: each layer is 2 to 4 times coarser than the one before. `base` draws the
    noise that the layers are added to.
    """

    layers: int = 6
    discount: float = 0.3
    base: Callable[[Tensor, Generator], Tensor] = gaussian

    def __call__(self, z: Tensor, rng: Generator) -> Tensor:
        eps = self.base(torch.empty(z.shape), rng)
        coarseness = 1.0
        for layer in range(1, self.layers + 1):
            coarseness *= 2 + 2 * torch.rand((), generator=rng).item()
            height, width = (max(1, int(side / coarseness)) for side in z.shape[2:])
            coarse = torch.randn((*z.shape[:2], height, width), generator=rng)
            eps = eps + self.discount**layer * F.interpolate(coarse, z.shape[2:], mode="bilinear")
            if height == width == 1:
                break
        return (eps / eps.std()).to(z.device, non_blocking=True)


def _unperturbed(eps: Tensor, rng: Generator) -> Tensor:
    """The input noise is the target noise."""
    return eps


@dataclass(frozen=True)
class InputPerturbation:
    """More noise in the input than in the target, so that the network tolerates its own errors.  [Ning et al. 2023]"""

    amount: float = 0.1

    def __call__(self, eps: Tensor, rng: Generator) -> Tensor:
        return eps + self.amount * gaussian(eps, rng)


_SNR_FLOOR = 1e-4  # replaces an SNR of 0, at the end of a zero-terminal schedule, so that weights stay finite


def uniform(noise: Noise, t: Tensor) -> Tensor:
    """Weight 1 at every time, shape (B,)."""
    return torch.ones(len(t), device=t.device)


@dataclass(frozen=True)
class MinSnr:
    """Min-SNR weighting: min(SNR, γ) for the clean latent's error, with any prediction type.  [Hang et al. 2023]

    For ε that is min(SNR, γ) / SNR, for v min(SNR, γ) / (SNR + 1).
    """

    gamma: float = 5.0

    def __call__(self, noise: Noise, t: Tensor) -> Tensor:
        return snr(noise, t).clamp(_SNR_FLOOR, self.gamma) / noise.error_scale(t).clamp(min=_SNR_FLOOR)


def debiased_weight(noise: Noise, t: Tensor) -> Tensor:
    """Debiased estimation: √SNR for the clean latent's error, SNR at most 1000.  [Yu et al. 2024]

    For ε that is 1 / √SNR, for v √SNR / (SNR + 1), where kohya's scripts have 1 / (SNR + 1).
    """
    return snr(noise, t).clamp(_SNR_FLOOR, 1000).sqrt() / noise.error_scale(t).clamp(_SNR_FLOOR, 1000)


@dataclass(frozen=True)
class Product:
    """Several weights multiplied, as kohya's scripts do."""

    weights: tuple[Weight, ...] = ()

    def __call__(self, noise: Noise, t: Tensor) -> Tensor:
        return prod((weight(noise, t) for weight in self.weights), start=uniform(noise, t))


def constant_c(c: float, noise: Noise, t: Tensor) -> Tensor:
    """c at every time, shape (B,)."""
    return torch.full((len(t),), c, device=t.device)


def exponential_c(c: float, noise: Noise, t: Tensor) -> Tensor:
    """c^(t / T): 1 without noise, c at the end, so that errors at late times count linearly.  [as in sd-scripts]"""
    return torch.exp(log(c) * t / (noise.last_time + 1))


def snr_c(c: float, noise: Noise, t: Tensor) -> Tensor:
    """(1 - c) / (1 + 1 / √SNR)² + c, with 1 / √SNR the noise level σ_t / α_t.  [as in sd-scripts]"""
    level = snr(noise, t).clamp(min=_SNR_FLOOR).rsqrt()
    return (1 - c) / (1 + level).square() + c


HUBER_SCHEDULES: Mapping[str, Callable[[float, Noise, Tensor], Tensor]] = {
    "constant": constant_c,
    "exponential": exponential_c,
    "snr": snr_c,
}


def squared_error(output: Tensor, target: Tensor, noise: Noise, t: Tensor) -> Tensor:
    """(output - target)², element by element, in float32."""
    return F.mse_loss(output.float(), target.float(), reduction="none")


def absolute_error(output: Tensor, target: Tensor, noise: Noise, t: Tensor) -> Tensor:
    """|output - target|, element by element, in float32; outliers count less than with the squared error."""
    return F.l1_loss(output.float(), target.float(), reduction="none")


@dataclass(frozen=True)
class Huber:
    """Pseudo-Huber loss 2c (√(d² + c²) - c): squared for errors d well below c, absolute well above.

    `smooth` omits the leading c, so that large errors count twice their absolute value for any c.  [Charbonnier 1994]
    `schedule` gives c (B,) at each time.
    """

    c: float = 0.1
    smooth: bool = False
    schedule: Callable[[float, Noise, Tensor], Tensor] = constant_c

    def __call__(self, output: Tensor, target: Tensor, noise: Noise, t: Tensor) -> Tensor:
        d2 = (output.float() - target.float()).square()
        c = self.schedule(self.c, noise, t).view(-1, *[1] * (d2.dim() - 1))
        # d² / (√(d² + c²) + c) is √(d² + c²) - c without cancellation for a small d.
        return (2 if self.smooth else 2 * c) * d2 / ((d2 + c**2).sqrt() + c)


def masked_mean(error: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over everything but the batch, weighted by the mask where there is one: (B, C, h, w) → (B,)."""
    if mask is None:
        return error.flatten(1).mean(1)
    return (error * mask).flatten(1).sum(1) / mask.expand_as(error).flatten(1).sum(1)


def mean_of_masked(error: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of the masked error over everything but the batch, (B, C, h, w) → (B,), as in sd-scripts."""
    return (error if mask is None else error * mask).flatten(1).mean(1)


@dataclass(frozen=True)
class Objective:
    """The six exchangeable functions of the training step."""

    times: Callable[[Noise, Tensor], Tensor] = Timesteps()
    noise: Callable[[Tensor, Generator], Tensor] = gaussian
    input_noise: Callable[[Tensor, Generator], Tensor] = _unperturbed
    weight: Weight = uniform
    error: Callable[[Tensor, Tensor, Noise, Tensor], Tensor] = squared_error
    reduce: Callable[[Tensor, Tensor | None], Tensor] = masked_mean


def build_objective(loss: Loss) -> Objective:
    """The objective for the loss settings."""
    schedule = HUBER_SCHEDULES[loss.huber_schedule]
    error: dict[str, Callable[[Tensor, Tensor, Noise, Tensor], Tensor]] = {
        "l2": squared_error,
        "l1": absolute_error,
        "huber": Huber(loss.huber_c, schedule=schedule),
        "smooth_l1": Huber(loss.huber_c, smooth=True, schedule=schedule),
    }
    offset = Offset(loss.noise_offset) if loss.noise_offset else gaussian
    weights: list[Callable[[Noise, Tensor], Tensor]] = [
        *([MinSnr(loss.min_snr_gamma)] if loss.min_snr_gamma else []),
        *([debiased_weight] if loss.debiased else []),
    ]
    return Objective(
        times=build_timesteps(loss),
        noise=Pyramid(loss.pyramid_layers, loss.pyramid_discount, offset) if loss.pyramid_layers else offset,
        input_noise=InputPerturbation(loss.input_perturbation) if loss.input_perturbation else _unperturbed,
        weight=Product(tuple(weights)),
        error=error[loss.type],
        reduce=masked_mean if loss.normalize_masks else mean_of_masked,
    )
