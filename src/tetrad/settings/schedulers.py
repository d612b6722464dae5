"""The names of learning-rate schedulers."""

from typing import Literal

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
