"""The runs of a sweep: every combination of the values of some settings."""

import itertools
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from typing import Any

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.settings import Recipe
from tetrad.settings.toml import as_values, assign, build_recipe

MAX_RUNS = 10_000
_RANGE = re.compile(r"(-?[0-9]{1,18})\.\.(-?[0-9]{1,18})")
_NOT_IN_NAMES = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class Cell:
    """One run of a sweep: its name, which is that of its folder, the values that are its own, and its recipe."""

    name: str
    values: Mapping[str, str]
    recipe: Recipe

    @property
    def title(self) -> str:
        """`method.rank = 4, train.seed = 0`."""
        return ", ".join(f"{key} = {value}" for key, value in self.values.items())


def parse_over(text: str) -> tuple[str, list[str]]:
    """`method.rank=4,16` or `train.seed=0..7` as a setting and its values.  E3003 where there is none."""
    key, _equals, listed = text.partition("=")
    values: dict[str, None] = {}
    for part in filter(None, map(str.strip, listed.split(","))):
        match = _RANGE.fullmatch(part)
        if match is None:
            values[part] = None
            continue
        first, last = int(match[1]), int(match[2])
        if not 0 <= last - first < MAX_RUNS:
            template = _(
                "--over {text} has the range {range}; write the smaller number first, and at most {most} values"
            )
            raise TetradError("E3003", template, text=repr(text), range=part, most=MAX_RUNS)
        values |= dict.fromkeys(map(str, range(first, last + 1)))
    if not key.strip() or not values:
        template = _("--over {text} names no values; write section.key=value,value, for example method.rank=4,16")
        raise TetradError("E3003", template, text=repr(text))
    return key.strip(), list(values)


def make_grid(base: Mapping[str, Any], over: Sequence[str], fixed: Mapping[str, Any]) -> list[Cell]:
    """A run for each combination; `base` are the values of the recipe, and `fixed` those that every run has.

    E3003 for what cannot be read, E3192 for two runs with the same recipe or too many, and the errors of the recipe
    with the run that has them.
    """
    axes = dict(map(parse_over, over))
    if (count := prod(map(len, axes.values()))) > MAX_RUNS:
        raise TetradError(
            "E3192", _("the sweep has {count} runs; at most {most} are possible"), count=count, most=MAX_RUNS
        )
    cells: dict[str, Cell] = {}
    for chosen in itertools.product(*axes.values()):
        values = dict(zip(axes, chosen, strict=True))
        name = "-".join(f"{key.rpartition('.')[2]}-{_NOT_IN_NAMES.sub('_', value)}" for key, value in values.items())
        given = deepcopy(dict(base))
        for key, value in ({**fixed} | values | {"save.name": name}).items():
            assign(given, f"{key}={value}")
        cell = Cell(name, values, _build(given, name))
        if name in cells:
            template = _("two runs of the sweep would be called {name}; give each setting and value once")
            raise TetradError("E3192", template, name=name)
        cells[name] = cell
    return list(cells.values())


def _build(values: dict[str, Any], name: str) -> Recipe:
    """The recipe of a run, with everything that is left out."""
    try:
        recipe = build_recipe(values)
        as_values(recipe)
    except TetradError as error:
        raise TetradError(error.code, _("run {name}: {reason}"), name=name, reason=error.sentence) from error
    return recipe
