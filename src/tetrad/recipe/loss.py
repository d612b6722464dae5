"""The recipe's section about what training minimises: what fills the slots of an `Objective`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from tetrad.diffusion.objective import (
    Huber,
    MinSnr,
    Objective,
    Offset,
    Perturbed,
    Pyramid,
    absolute,
    as_drawn,
    debiased,
    gaussian,
    squared,
    uniform,
)
from tetrad.recipe.option import check, option


@dataclass(frozen=True)
class Loss:
    error: Literal["squared", "absolute", "huber", "smooth_l1"] = option(
        "squared", "what a difference costs; the others forgive wild pictures (loss_type l2, l1, huber, smooth_l1)"
    )
    huber_c: float = option(0.1, "where huber and smooth_l1 change from squared to absolute (huber_c)")
    noise_offset: float = option(0.0, "learn overall brightness too; 0.05 is usual, 0 is off (noise_offset)")
    pyramid_layers: int = option(
        0, "layers of coarser noise, for brightness of every size; 6 is usual, 0 is off (multires_noise_iterations)"
    )
    pyramid_discount: float = option(0.3, "how much weaker each of them is (multires_noise_discount)")
    perturbation: float = option(0.0, "more noise than is asked for; 0.1 is usual, 0 is off (ip_noise_gamma)")
    min_snr_gamma: float = option(0.0, "even out the noise levels; 5 is usual, 0 is off (min_snr_gamma)")
    debiased: bool = option(False, "even them out by the root of the signal (debiased_estimation_loss)")
    zero_terminal_snr: bool = option(
        False, "the last step is noise alone, so that dark and bright pictures can be learned (zero_terminal_snr)"
    )

    def __post_init__(self) -> None:
        check("loss.huber_c", self.huber_c, 0 < self.huber_c <= 10, "above 0, at most 10")
        check("loss.noise_offset", self.noise_offset, 0 <= self.noise_offset <= 1, "from 0 to 1")
        check("loss.pyramid_layers", self.pyramid_layers, 0 <= self.pyramid_layers <= 20, "from 0 to 20")
        check("loss.pyramid_discount", self.pyramid_discount, 0 < self.pyramid_discount < 1, "above 0, under 1")
        check("loss.perturbation", self.perturbation, 0 <= self.perturbation <= 1, "from 0 to 1")
        check("loss.min_snr_gamma", self.min_snr_gamma, 0 <= self.min_snr_gamma <= 100, "from 0 to 100")
        both = self.noise_offset and self.pyramid_layers
        check("loss.pyramid_layers", self.pyramid_layers, not both, "0 where loss.noise_offset is on, or that 0")
        both = self.min_snr_gamma and self.debiased
        check("loss.debiased", self.debiased, not both, "false where loss.min_snr_gamma is on, or that 0")

    def objective(self) -> Objective:
        error: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "squared": squared,
            "absolute": absolute,
            "huber": Huber(self.huber_c),
            "smooth_l1": Huber(self.huber_c, smooth=True),
        }
        noise = Pyramid(self.pyramid_layers, self.pyramid_discount) if self.pyramid_layers else gaussian
        weight = debiased if self.debiased else uniform
        return Objective(
            noise=Offset(self.noise_offset) if self.noise_offset else noise,
            seen=Perturbed(self.perturbation) if self.perturbation else as_drawn,
            weight=MinSnr(self.min_snr_gamma) if self.min_snr_gamma else weight,
            error=error[self.error],
        )
