"""The files of a merge on the command line, each with a weight: `cat.safetensors:0.8`."""

from collections.abc import Sequence
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.given_paths import missing_file_error
from tetrad.locales import _
from tetrad.paths import expand_path
from tetrad.weighted_files import WHOLE, split_weights


def parse_weighted_files(arguments: Sequence[str]) -> list[tuple[Path, float]]:
    """Each file and its number, 1 where it has none.

    E2006 for fewer than two files or for a number that is none, E5001 where a file does not exist.
    """
    if len(arguments) < 2:
        raise TetradError("E2006", _("a merge needs two files or more; give them one after another"))
    files = []
    for argument in arguments:
        name, weights = split_weights(argument)
        if not (path := expand_path(name)).exists():
            raise missing_file_error(path)
        files.append((path, weights.get(WHOLE, 1.0)))
    return files
