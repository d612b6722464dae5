"""The names of learning-rate schedulers, and when their settings have an effect."""

from typing import Literal

from tetrad.settings.field import Needs

Scheduler = Literal[
    "constant",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
    "warmup_stable_decay",
    "rex",
    "cosine_annealing",
]
PLAIN = Needs("plain learning rate")


def changes_rates(*explained_by: Needs) -> Needs:
    """A setting has an effect where a learning rate changes with it; `explained_by` are the usual reasons against."""
    return Needs("changes learning rates", explained_by=explained_by)
