"""Settings of the previews during training."""

from tetrad.locales import Message, _
from tetrad.settings.field import Needs, option, settings_class
from tetrad.settings.samplers import SamplerName
from tetrad.settings.values import Check

PREVIEWS = Needs("makes previews")
_SIDE = Check(
    lambda side: side == 0 or (side >= 64 and side % 8 == 0),
    Message(_("a multiple of 8 from 64 to 4096, or 0 for the size of the training")),
    {"multipleOf": 8, "not": {"exclusiveMinimum": 0, "exclusiveMaximum": 64}},
)


@settings_class
class Sample:
    """Previews during training."""

    prompts: tuple[str, ...] = option(
        (),
        _(
            "Preview prompts; not given: a caption, the trigger word in a new setting, and a prompt without the trigger"
            " word"
        ),
        group="previews",
        kohya="sample_prompts",
        needs=PREVIEWS,
    )
    overfit_prompts: tuple[str, ...] = option(
        (),
        _(
            "Prompts that ask for something not in your images (overfitting check, sanity prompt); not given: one such"
            " prompt, unless sample.prompts are given"
        ),
        group="previews",
        flag="--overfit-prompts",
        needs=PREVIEWS,
    )
    negative_prompt: str = option(
        "",
        _("Negative prompt of the previews"),
        group="previews",
        needs=(PREVIEWS, Needs("sample.uses_guidance", because=_("guidance is off at sample.cfg_scale = 1"))),
    )
    every: int = option(
        0,
        _("Steps between previews; 0: four times in a run, never for large images on a CPU; -1: never"),
        group="previews",
        kohya="sample_every_n_steps",
        ge=-1,
        le=1_000_000,
    )
    every_epochs: int = option(
        0,
        _("Epochs between previews, instead of steps; 0: off"),
        group="previews",
        kohya="sample_every_n_epochs",
        needs=Needs("sample.every", (0,), because=_("sample.every is given")),
        ge=0,
        le=1_000_000,
    )
    every_minutes: float = option(
        0.0,
        _("Minutes between previews, instead of steps or epochs; 0: off"),
        group="previews",
        needs=(
            Needs("sample.every", (0,), because=_("sample.every is given")),
            Needs("sample.every_epochs", (0,), because=_("sample.every_epochs is given")),
        ),
        ge=0,
        le=100_000,
    )
    before_training: bool = option(
        True,
        _("Generate previews before the first step as well"),
        group="previews",
        kohya="sample_at_first",
        needs=PREVIEWS,
    )
    steps: int = option(20, _("Sampling steps of the previews"), group="previews", needs=PREVIEWS, ge=1, le=1000)
    cfg_scale: float = option(
        7.0, _("Guidance scale of the previews"), group="previews", needs=PREVIEWS, hint=_("7 is typical"), ge=0, le=100
    )
    sampler: SamplerName = option(
        "DPM++ 2M",
        _("Sampler of the previews, named as in A1111"),
        group="previews",
        kohya="sample_sampler",
        needs=PREVIEWS,
    )

    seed: int | None = option(
        None,
        _("Seed of the previews; not given: that of the run"),
        group="previews",
        needs=PREVIEWS,
        ge=0,
        le=2**63 - 1,
    )
    next_seeds: bool = option(
        False,
        _("Give each preview prompt the seed after that of the one before"),
        group="previews",
        needs=PREVIEWS,
    )
    width: int = option(
        0,
        _("Width of the previews in pixels; 0: that of the training"),
        group="previews",
        needs=PREVIEWS,
        check=_SIDE,
        ge=0,
        le=4096,
    )
    height: int = option(
        0,
        _("Height of the previews in pixels; 0: that of the training"),
        group="previews",
        needs=PREVIEWS,
        check=_SIDE,
        ge=0,
        le=4096,
    )

    @property
    def uses_guidance(self) -> bool:
        """Whether the negative prompt is used."""
        return self.cfg_scale != 1
