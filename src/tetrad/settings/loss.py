"""Settings of the loss and of the noise."""

from typing import Literal

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.settings.field import Needs, option, settings_class

HUBER = Needs("loss.type", ("huber", "smooth_l1"))


@settings_class
class Loss:
    """Loss and noise."""

    type: Literal["l2", "l1", "huber", "smooth_l1"] = option(
        "l2",
        _("Loss function; l1, huber and smooth_l1 are less sensitive to outliers than l2"),
        group="loss",
        kohya="loss_type",
    )
    huber_c: float = option(
        0.1,
        _("Error at which huber and smooth_l1 change from squared to absolute error"),
        group="loss",
        kohya="huber_c",
        needs=HUBER,
        gt=0,
        le=10,
    )
    noise_offset: float = option(
        0.0,
        _("Noise offset, for training dark and bright images; 0: off"),
        group="loss",
        kohya="noise_offset",
        hint=_("0.05 is typical"),
        ge=0,
        le=1,
    )
    pyramid_layers: int = option(
        0,
        _("Number of layers of multi-resolution (pyramid) noise; 0: off"),
        group="loss",
        kohya="multires_noise_iterations",
        hint=_("6 is typical"),
        ge=0,
        le=20,
    )
    pyramid_discount: float = option(
        0.3,
        _("Discount of each coarser layer of multi-resolution noise"),
        group="loss",
        kohya="multires_noise_discount",
        needs=Needs("loss.pyramid_layers"),
        gt=0,
        lt=1,
    )
    input_perturbation: float = option(
        0.0,
        _("Input perturbation noise, added to the input but not to the target; 0: off"),
        group="loss",
        kohya="ip_noise_gamma",
        hint=_("0.1 is typical"),
        ge=0,
        le=1,
    )
    min_snr_gamma: float = option(
        0.0,
        _("Gamma of the Min-SNR loss weighting; 5 is typical; 0: off"),
        group="loss",
        kohya="min_snr_gamma",
        ge=0,
        le=100,
    )
    debiased: bool = option(
        False,
        _("Debiased estimation: loss weighting by 1 / √SNR"),
        group="loss",
        kohya="debiased_estimation_loss",
    )
    zero_terminal_snr: bool = option(
        False,
        _("Rescale the noise schedule to zero terminal SNR: the last time step is pure noise"),
        group="loss",
        kohya="zero_terminal_snr",
    )

    def __post_init__(self) -> None:
        if self.noise_offset and self.pyramid_layers:
            raise conflict_error("loss.noise_offset", "loss.pyramid_layers")
        if self.min_snr_gamma and self.debiased:
            raise conflict_error("loss.min_snr_gamma", "loss.debiased")


def conflict_error(first: str, second: str) -> TetradError:
    """E3103: two settings exclude each other."""
    template = _("{first} and {second} cannot be used together; use one of them")
    return TetradError("E3103", template, first=first, second=second)
