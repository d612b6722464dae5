"""Settings by block of a model: for a layer, the smallest block that contains it and has a value decides."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from tetrad.errors import TetradError
from tetrad.locales import _

_Value = TypeVar("_Value")


def lookup(blocks: Sequence[str], values: Mapping[str, _Value], default: _Value) -> _Value:
    """The value of the first block that has one; `blocks` are sorted from the smallest to the largest."""
    return next((values[name] for name in blocks if name in values), default)


def require(setting: str, names: Iterable[str], blocks: Collection[str], model: str) -> None:
    """E3121 for a name that is not among the model's trained blocks."""
    for name in names:
        if name not in blocks:
            raise TetradError(
                "E3121",
                _("method.{setting} contains {name}, but the trained blocks of {model} are {blocks}"),
                setting=setting,
                name=name,
                model=model,
                blocks=", ".join(sorted(blocks)),
            )
