"""Files with a number after a colon, as commands that merge take them: `cat.safetensors:0.8`."""

import math
from collections.abc import Sequence
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.given_paths import missing_file_error
from tetrad.locales import _
from tetrad.paths import expand_path


def parse_weighted_files(arguments: Sequence[str]) -> list[tuple[Path, float]]:
    """Each file and its number, 1 where it has none.

    E2006 for fewer than two files or for a number that is none, E5001 where a file does not exist.
    """
    if len(arguments) < 2:
        raise TetradError("E2006", _("a merge needs two files or more; give them one after another"))
    return [_parse(argument) for argument in arguments]


def _parse(argument: str) -> tuple[Path, float]:
    path = expand_path(argument)
    if path.exists():  # a name may contain a colon
        return path, 1.0
    file, _colon, number = argument.rpartition(":")
    if not file or not expand_path(file).exists():
        raise missing_file_error(expand_path(file or argument))
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        template = _("{number} after {file}: is not a number; write it like {example}")
        raise TetradError("E2006", template, number=number or '""', file=file, example=f"{Path(file).name}:0.5")
    return expand_path(file), weight
