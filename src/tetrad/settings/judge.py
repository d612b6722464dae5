"""Settings of how a run is judged."""

from typing import Literal

from tetrad.locales import _
from tetrad.settings.field import Needs, option, settings_class

_JUDGED = Needs("is judged")


@settings_class
class Judge:
    """How a run is judged."""

    scores: Literal["auto", "on", "off"] = option(
        "auto",
        _(
            "Measure every saved file without generating images: losses of fixed images, and drift; auto: only with"
            " --stop auto or judge.images"
        ),
        group="judging",
    )
    held_out: int = option(
        -1,
        _(
            "Images that are not trained on, so that their loss shows overfitting; -1: a tenth of the images, at most"
            " 3, and at least 1 with --stop auto"
        ),
        group="judging",
        needs=_JUDGED,
        ge=-1,
        le=100,
    )
    stop: Literal["off", "auto"] = option(
        "off",
        _(
            "auto: end the run when its losses have stopped falling, and save as often as that needs, unless save.every"
            " or save.every_epochs is given"
        ),
        group="judging",
        flag="--stop",
        needs=Needs("judge.scores", ("auto", "on")),
    )

    images: Literal["off", "end", "previews"] = option(
        "off",
        _(
            "Generate images to score the run by, beside the base model's: at its end, or also whenever previews are"
            " generated; all of them take at most a quarter of the time of the steps"
        ),
        group="judging",
        needs=Needs("judge.scores", ("auto", "on")),
    )

    @property
    def uses_images(self) -> bool:
        """Whether images are generated to score the run by."""
        return self.images != "off" and self.scores != "off"

    @property
    def stops(self) -> bool:
        """Whether the run may end before its last step."""
        return self.stop == "auto" and self.scores != "off"
