"""Which training times are drawn: a distribution by its quantile function, within a range of time steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from tetrad.diffusion.noise import Noise
from tetrad.settings.loss import Loss

_LAST_QUANTILE = 1 - 2.0**-24  # the largest float32 below 1: a quantile of 1 is the time step after the last
_STEPS = 1000  # of min_timestep and max_timestep, whatever the noise schedule has
_MARGIN = 1e-4  # steps


@dataclass(frozen=True)
class LogitNormal:
    """The logistic function of a normal variable: mostly the middle.  [Esser et al. 2024, eq. 19]"""

    mean: float = 0.0
    std: float = 1.0

    def __call__(self, u: Tensor) -> Tensor:
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(u.clamp(2.0**-24, _LAST_QUANTILE)))


def _uniform(u: Tensor) -> Tensor:
    return u


def _cosmap(u: Tensor) -> Tensor:
    """1 - 1 / (tan(π u / 2) + 1).  [Esser et al. 2024, eq. 21]"""
    return 1 - 1 / (torch.tan(pi / 2 * u) + 1)


def _content(u: Tensor) -> Tensor:
    """1 - u³, for 1 - u: mostly much noise, where an image gets its composition.  [Mou et al. 2023, section 3.4]"""
    return 1 - (1 - u) ** 3


def _style(u: Tensor) -> Tensor:
    """u³: mostly little noise, where an image gets its detail.  The opposite of `_content`."""
    return u**3


_SHAPES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "uniform": _uniform,
    "cosmap": _cosmap,
    "content": _content,
    "style": _style,
}


@dataclass(frozen=True)
class Timesteps:
    """The training times at quantiles u (B,) in 0…1: `shape` is the quantile function on 0…1.

    Since it only bends the quantiles, stratified quantiles stay stratified.
    """

    shape: Callable[[Tensor], Tensor] = _uniform
    lowest: float = 0.0  # of the range, as a share of all times
    highest: float = 1.0

    def __call__(self, noise: Noise, u: Tensor) -> Tensor:
        share = self.lowest + (self.highest - self.lowest) * self.shape(u)
        return noise.times(share.clamp(max=_LAST_QUANTILE))


def build_timesteps(loss: Loss) -> Timesteps:
    """The times for the loss settings."""
    shapes: dict[str, Callable[[Tensor], Tensor]] = {
        **_SHAPES,
        "logit_normal": LogitNormal(loss.timestep_mean, loss.timestep_std),
    }
    # A little less than the range, so that rounding in float32 cannot give the time step beside it.
    lowest = (loss.min_timestep + _MARGIN) / _STEPS if loss.min_timestep else 0.0
    highest = (loss.max_timestep - _MARGIN) / _STEPS if loss.max_timestep < _STEPS else 1.0
    return Timesteps(shapes[loss.timestep_distribution], lowest, highest)
