"""Files to be merged, each with a weight, and the result."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tetrad.locales import Message, _
from tetrad.paths import expand_path

GivenFile = str | Path | tuple[str | Path, float]  # a file alone has the weight 1


@dataclass(frozen=True)
class Merged:
    """The file that was written, and what was done."""

    path: Path
    notes: list[Message]


def pair_with_weights(files: Sequence[GivenFile]) -> list[tuple[Path, float]]:
    """Each file with its weight."""
    pairs = (each if isinstance(each, tuple) else (each, 1.0) for each in files)
    return [(expand_path(path), weight) for path, weight in pairs]


def describe_unused(pairs: Iterable[tuple[Path, float]]) -> list[Message]:
    """Which files have the weight 0, so that they have no part in the result."""
    template = _("{file} has the weight 0, so nothing of it is merged")
    return [Message(template, file=path.name) for path, weight in pairs if not weight]
