"""Settings of the previews during training."""

from tetrad.locales import _
from tetrad.settings.field import Needs, option, settings_class
from tetrad.settings.samplers import SamplerName

PREVIEWS = Needs("makes previews")


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

    @property
    def uses_guidance(self) -> bool:
        """Whether the negative prompt is used."""
        return self.cfg_scale != 1
