"""Rectified flow: a straight line from the clean latent to noise.  [Liu et al. 2022; Esser et al. 2024]"""

from dataclasses import dataclass

from torch import Tensor

from tetrad.diffusion.noise import Prediction

_TIME_SCALE = 1000  # the network's time is t · 1000


@dataclass(frozen=True)
class RectifiedFlow:
    """z_t = (1 - t) z + t ε, and the network predicts ε - z.  A shift above 1 puts more times near the noise."""

    shift: float = 1.0
    prediction: Prediction = "flow"
    is_zero_terminal: bool = True

    @property
    def last_time(self) -> float:
        return _TIME_SCALE

    def times(self, u: Tensor) -> Tensor:
        """t = s u / (1 + (s - 1) u), times 1000.  [Esser et al. 2024, eq. 23]"""
        return _TIME_SCALE * self.shift * u / (1 + (self.shift - 1) * u)

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        s = (t / _TIME_SCALE).view(-1, 1, 1, 1)
        return 1 - s, s

    def target(self, z: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return eps - z

    def predict_clean(self, output: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
        return z_t - self.scales(t)[1] * output

    def error_scale(self, t: Tensor) -> Tensor:
        return (_TIME_SCALE / t).square()

    def with_zero_terminal(self) -> "RectifiedFlow":
        return self
