"""A setting and its range."""

from dataclasses import field
from typing import Any

from tetrad.errors import TetradError


def option(default: Any, help: str) -> Any:
    """A setting with the sentence that explains it; kohya's name for it stands in brackets."""
    return field(default=default, metadata={"help": help})


def check(key: str, value: object, good: bool, what: str) -> None:
    """E3103 where a value is not what it must be."""
    if not good:
        raise TetradError("E3103", f"{key} must be {what}; it is {value!r}")
