"""What is compared: the images, the methods, and what each training gets."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tetrad.builtin import BUILTIN_NAME, resolve_images_path, resolve_model_path
from tetrad.builtin.vocabulary import TRIGGER_WORD
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods import METHODS
from tetrad.methods.advice import parse_goal
from tetrad.methods.people import is_person

# The built-in images with what they show.
SAMPLE_GOALS: Mapping[str, str] = {"builtin:subject": "object", "builtin:person": "person", "builtin:style": "style"}
MIN_METHODS = 2
_BUDGET = re.compile(r"(\d+)(?:\s*steps?)?|(\d+(?:\.\d+)?)\s*(s|min|h)", re.IGNORECASE)
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_MAX_STEPS = 1_000_000


@dataclass(frozen=True)
class Budget:
    """What every training gets: so many steps, or so many seconds; neither: the steps of the recommended method."""

    steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Wish:
    """What is compared; paths are absolute, so that the comparison goes on from any folder."""

    images: str
    goal: str
    model: str = BUILTIN_NAME
    trigger_word: str = ""  # "": one is suggested
    class_word: str = ""
    methods: tuple[str, ...] = tuple(METHODS)
    budget: Budget = Budget()
    device: str = "auto"
    settings: tuple[str, ...] = ()  # of every training, like train.seed=1

    @property
    def is_builtin(self) -> bool:
        return self.model == BUILTIN_NAME

    def as_record(self) -> dict[str, Any]:
        """What decides the trainings, as plain values; the methods are left out, as others can be added later."""
        values = {name: value for name, value in vars(self).items() if name != "methods"}
        return {**values, "budget": vars(self.budget), "settings": list(self.settings)}


def make_wish(
    images: str,
    goal: str = "",
    model: str = BUILTIN_NAME,
    trigger_word: str = "",
    class_word: str = "",
    methods: str = "",
    budget: str = "",
    device: str = "auto",
    settings: Sequence[str] = (),
) -> Wish:
    """A wish from what a person writes.  E3272 for methods, a budget or a goal that it cannot have."""
    goal = goal or SAMPLE_GOALS.get(images, "") or ("person" if is_person(class_word) else "")
    if not goal:
        template = _("nothing says what {images} shows; give --goal face, person, pet, object or style")
        raise TetradError("E3272", template, images=images)
    parse_goal(goal)
    return Wish(
        images if images.startswith(f"{BUILTIN_NAME}:") else str(resolve_images_path(images).absolute()),
        goal,
        model if model == BUILTIN_NAME else str(resolve_model_path(model).absolute()),
        trigger_word or (TRIGGER_WORD if images in SAMPLE_GOALS else ""),
        class_word,
        parse_methods(methods),
        parse_budget(budget),
        device,
        tuple(settings),
    )


def parse_methods(text: str) -> tuple[str, ...]:
    """Methods separated by commas, in the order of METHODS; all of them for "".  E3272 for others or fewer than two."""
    given = {name.strip() for name in text.split(",")} if text.strip() else set(METHODS)
    if not given <= set(METHODS) or len(given) < MIN_METHODS:
        template = _("--methods must be two or more of {known}, with commas between them; it is '{text}'")
        raise TetradError("E3272", template, known=", ".join(METHODS), text=text)
    return tuple(name for name in METHODS if name in given)


def parse_budget(text: str) -> Budget:
    """`400` as steps of each training, `10min` as the time of each.  E3272 for anything else."""
    if not text.strip():
        return Budget()
    match = _BUDGET.fullmatch(text.strip())
    steps = int(match[1]) if match and match[1] else 0
    seconds = float(match[2]) * _SECONDS[match[3].lower()] if match and match[2] else 0.0
    if not (0 < steps <= _MAX_STEPS or 0 < seconds <= _MAX_STEPS):
        template = _(
            "--budget must be a number of steps like 400, or a time for each method like 10min or 2h; it is '{text}'"
        )
        raise TetradError("E3272", template, text=text)
    return Budget(steps, seconds)
