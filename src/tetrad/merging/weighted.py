"""Files to be merged, each with a weight, and the result."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tetrad.locales import Message
from tetrad.paths import expand_path

GivenFile = str | Path | tuple[str | Path, float]  # a file alone has the weight 1


@dataclass(frozen=True)
class Merged:
    """The file that was written, and a sentence about it."""

    path: Path
    note: Message


def pair_with_weights(files: Sequence[GivenFile]) -> list[tuple[Path, float]]:
    """Each file with its weight."""
    pairs = (each if isinstance(each, tuple) else (each, 1.0) for each in files)
    return [(expand_path(path), weight) for path, weight in pairs]
