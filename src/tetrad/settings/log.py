"""Settings of what a run writes down for other programs while it trains."""

from tetrad.locales import _
from tetrad.settings.field import option, settings_class


@settings_class
class Log:
    """What a run writes down besides its own logs."""

    tensorboard: bool = option(
        False,
        _(
            "Also write losses, learning rates and scores as TensorBoard's event files, into the folder tensorboard of"
            " the run"
        ),
        group="saving",
    )
