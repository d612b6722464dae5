"""Writes the trained files of a run, whatever becomes of the disk and of the run's folder meanwhile."""

import shutil
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.run.events import Event
from tetrad.run.folder import RunFolder
from tetrad.run.full_disk import DiskGuard
from tetrad.run.saving import saving

Written = TypeVar("Written")


def write_result(
    path: Path, size: int, step: int, folder: RunFolder, disk: DiskGuard, write: Callable[[Path], Written]
) -> Generator[Event, None, Written]:
    """What `write` returns, which writes the weights of a step, about `size` bytes, at the path it is given.

    It waits for space, and makes a removed folder again. E4202 where the folder takes no file all the same; the weights
    are then saved in the system's temporary folder, which the error names.
    """

    def attempt(place: Path = path) -> Written:
        folder.restore()
        with saving():
            return write(place)

    try:
        return (yield from disk.write(path, size, attempt))
    except TetradError as error:
        if error.code != "E4202":
            raise
        raise _rescue(error, path, step, attempt) from error


def _rescue(error: TetradError, path: Path, step: int, write: Callable[[Path], object]) -> TetradError:
    """Save the weights in the system's temporary folder; the error to raise."""
    place = Path(tempfile.mkdtemp(prefix="tetrad-"))
    try:
        write(place / path.name)
        (written,) = place.iterdir()
    except (TetradError, ValueError):
        shutil.rmtree(place, ignore_errors=True)
        return error
    template = _("{reason}; the weights of step {step} are in {path}")
    return TetradError("E4202", template, reason=error.sentence, step=step, path=written)
