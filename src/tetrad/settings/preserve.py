"""Settings of preservation without class images."""

from tetrad.locales import _
from tetrad.settings.field import Needs, option, settings_class

NEEDS_PRESERVATION = Needs("data.preserve.samples")


@settings_class
class PreserveSettings:
    """Preservation without class images: on generic captions the model keeps predicting what it did before training."""

    samples: int = option(
        0,
        _("Additional samples in each batch that keep other images unchanged; 0: off"),
        group="class images",
        needs=Needs(
            "method.artifact.requires_trigger_word",
            (False,),
            because=_("an embedding changes only prompts that contain its trigger word"),
        ),
        hint=_("1 beside a batch of 4 is typical"),
        ge=0,
        le=64,
    )
    weight: float = option(
        3.0,
        _(
            "Loss weight of the preserved samples: the loss is the mean over the images plus this times the mean over"
            " these samples"
        ),
        group="class images",
        needs=NEEDS_PRESERVATION,
        gt=0,
        le=100,
    )
    learning_rate_factor: float = option(
        3.0,
        _("Factor of the learning rates while samples are preserved, because preservation slows the training down"),
        group="class images",
        needs=NEEDS_PRESERVATION,
        gt=0,
        le=10,
    )
    captions: tuple[str, ...] = option(
        (),
        _("Captions of the preserved samples; not given: a list of common things"),
        group="class images",
        needs=NEEDS_PRESERVATION,
    )

    @property
    def is_enabled(self) -> bool:
        return self.samples > 0
