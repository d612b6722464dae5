"""Settings of the loss and of the noise."""

from typing import Literal

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.settings.field import Needs, option, settings_class

LOGIT_NORMAL = Needs("loss.timestep_distribution", ("logit_normal",))
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
    huber_schedule: Literal["constant", "exponential", "snr"] = option(
        "constant",
        _(
            "How huber_c depends on the time step: constant; exponential, from 1 without noise to huber_c; snr, nearer"
            " to 1 the less noise there is"
        ),
        group="loss",
        kohya="huber_schedule",
        needs=HUBER,
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
    noise_offset_random: bool = option(
        False,
        _("Use a random strength of the noise offset for each batch, from 0 to noise_offset"),
        group="loss",
        kohya="noise_offset_random_strength",
        needs=Needs("loss.noise_offset"),
    )
    adaptive_noise_scale: float = option(
        0.0,
        _("Factor of the mean of each latent channel that is added to the noise offset; 0: off"),
        group="loss",
        kohya="adaptive_noise_scale",
        needs=Needs("loss.noise_offset"),
        ge=-1,
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
    input_perturbation_random: bool = option(
        False,
        _("Use a random strength of the input perturbation for each batch, from 0 to input_perturbation"),
        group="loss",
        kohya="ip_noise_gamma_random_strength",
        needs=Needs("loss.input_perturbation"),
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
    scale_v_loss: bool = option(
        False,
        _("Weight the loss of a model that predicts v as that of one that predicts epsilon, by SNR / (SNR + 1)"),
        group="loss",
        kohya="scale_v_pred_loss_like_noise_pred",
    )
    v_loss_weight: float = option(
        0.0,
        _("Weight of the loss of v that is added to the loss of epsilon; 0: off"),
        group="loss",
        kohya="v_pred_like_loss",
        ge=0,
        le=100,
    )
    min_timestep: int = option(
        0,
        _("Lowest time step that is trained; 0 is almost without noise"),
        group="loss",
        kohya="min_timestep",
        ge=0,
        le=999,
    )
    max_timestep: int = option(
        1000,
        _("Time steps below this one are trained; 1000: up to pure noise"),
        group="loss",
        kohya="max_timestep",
        ge=1,
        le=1000,
    )
    timestep_distribution: Literal["uniform", "logit_normal", "cosmap", "content", "style"] = option(
        "uniform",
        _(
            "Distribution of the time steps: uniform; logit_normal, mostly the middle (others call it sigmoid); cosmap;"
            " content, mostly much noise; style, mostly little noise. The run writes an image of it, timesteps.png"
        ),
        group="loss",
        kohya="timestep_sampling",
    )
    timestep_mean: float = option(
        0.0,
        _("Mean of the logit of logit_normal: above 0 more noise, below 0 less"),
        group="loss",
        kohya="logit_mean",
        needs=LOGIT_NORMAL,
        ge=-5,
        le=5,
    )
    timestep_std: float = option(
        1.0,
        _("Standard deviation of the logit of logit_normal: the smaller, the more time steps are near the middle"),
        group="loss",
        kohya="logit_std, sigmoid_scale",
        needs=LOGIT_NORMAL,
        gt=0,
        le=10,
    )
    normalize_masks: bool = option(
        True,
        _(
            "With masks, the loss is the mean over the trained area; false: over the whole image, as in kohya's"
            " sd-scripts, so that small masks train less"
        ),
        group="loss",
        needs=Needs("has transparency"),
    )
    zero_terminal_snr: bool = option(
        False,
        _("Rescale the noise schedule to zero terminal SNR: the last time step is pure noise"),
        group="loss",
        kohya="zero_terminal_snr",
    )

    def __post_init__(self) -> None:
        if self.min_timestep >= self.max_timestep:
            template = _(
                "loss.min_timestep = {lowest} must be below loss.max_timestep = {highest}, so that a time step is left"
            )
            raise TetradError("E3103", template, lowest=self.min_timestep, highest=self.max_timestep)
