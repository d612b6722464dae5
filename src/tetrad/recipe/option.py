"""A setting and its range."""

from dataclasses import MISSING, Field, field, fields
from typing import Any

from tetrad.errors import TetradError


def option(default: Any, help: str) -> Any:
    """A setting with the sentence that explains it; kohya's name for it stands in brackets."""
    return field(default=default, metadata={"help": help})


def settings(section: Any) -> "list[Field[Any]]":
    """The fields of a dataclass that a recipe has: those with a sentence, and sections; the others are for programs."""
    return [f for f in fields(section) if "help" in f.metadata or f.default_factory is not MISSING]


def check(key: str, value: object, good: bool, what: str) -> None:
    """E3103 where a value is not what it must be."""
    if not good:
        raise TetradError("E3103", f"{key} must be {what}; it is {value!r}")
