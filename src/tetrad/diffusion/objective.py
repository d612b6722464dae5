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
    """Noise offset: ε plus a random constant for each channel, so that brightness is trained too.  [Guttenberg 2023]

    `adaptive` times the mean of a channel is added to the amount, which is at least 0, and `is_random` multiplies the
    amount by one number from 0 to 1 for the whole batch.  [as in sd-scripts]
    """

    amount: float = 0.05
    adaptive: float = 0.0
    is_random: bool = False

    def __call__(self, z: Tensor, rng: Generator) -> Tensor:
        eps, constants = gaussian(z, rng), gaussian(z[:, :, :1, :1], rng)
        amount = self.amount * _draw_strength(self.is_random, rng)
        if self.adaptive:
            return eps + (amount + self.adaptive * z.mean((2, 3), keepdim=True).abs()).clamp(min=0) * constants
        return eps + amount * constants


def _draw_strength(is_random: bool, rng: Generator) -> float:
    """A number from 0 to 1 where it is random; else 1, without drawing one."""
    return torch.rand((), generator=rng).item() if is_random else 1.0


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
        eps = self.base(z, rng)
        coarseness = 1.0
        for layer in range(1, self.layers + 1):
            coarseness *= 2 + 2 * torch.rand((), generator=rng).item()
            height, width = (max(1, int(side / coarseness)) for side in z.shape[2:])
            coarse = torch.randn((*z.shape[:2], height, width), generator=rng).to(z.device, non_blocking=True)
            eps = eps + self.discount**layer * F.interpolate(coarse, z.shape[2:], mode="bilinear")
            if height == width == 1:
                break
        return eps / eps.std()


def _unperturbed(eps: Tensor, rng: Generator) -> Tensor:
    """The input noise is the target noise."""
    return eps


@dataclass(frozen=True)
class InputPerturbation:
    """More noise in the input than in the target, so that the network tolerates its own errors.  [Ning et al. 2023]"""

    amount: float = 0.1
    is_random: bool = False  # from 0 to the amount, one number for the batch

    def __call__(self, eps: Tensor, rng: Generator) -> Tensor:
        return eps + self.amount * _draw_strength(self.is_random, rng) * gaussian(eps, rng)


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


def scaled_v_weight(noise: Noise, t: Tensor) -> Tensor:
    """The loss of v weighted as that of ε: SNR / (SNR + 1), SNR at most 1000; 1 for ε.  [as in sd-scripts]"""
    return snr(noise, t).clamp(_SNR_FLOOR, 1000) / noise.error_scale(t).clamp(_SNR_FLOOR, 1001)


@dataclass(frozen=True)
class AddedVLoss:
    """1 + `amount` · (SNR + 1) / SNR, SNR at most 1000: the loss of ε and that of v together.  [as in sd-scripts]"""

    amount: float

    def __call__(self, noise: Noise, t: Tensor) -> Tensor:
        ratio = snr(noise, t).clamp(_SNR_FLOOR, 1000)
        return 1 + self.amount * (ratio + 1) / noise.error_scale(t).clamp(_SNR_FLOOR, 1001)


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
    offset: Callable[[Tensor, Generator], Tensor] = gaussian
    if loss.noise_offset:
        offset = Offset(loss.noise_offset, loss.adaptive_noise_scale, loss.noise_offset_random)
    perturbation = InputPerturbation(loss.input_perturbation, loss.input_perturbation_random)
    weights: list[Callable[[Noise, Tensor], Tensor]] = [
        *([MinSnr(loss.min_snr_gamma)] if loss.min_snr_gamma else []),
        *([debiased_weight] if loss.debiased else []),
        *([scaled_v_weight] if loss.scale_v_loss else []),
        *([AddedVLoss(loss.v_loss_weight)] if loss.v_loss_weight else []),
    ]
    return Objective(
        times=build_timesteps(loss),
        noise=Pyramid(loss.pyramid_layers, loss.pyramid_discount, offset) if loss.pyramid_layers else offset,
        input_noise=perturbation if loss.input_perturbation else _unperturbed,
        weight=Product(tuple(weights)),
        error=error[loss.type],
        reduce=masked_mean if loss.normalize_masks else mean_of_masked,
    )
