"""A folder for the files of a check, which is removed also where the process was killed: by the next check."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tetrad.run.disk import find_existing_folder
from tetrad.run.heartbeat import Heartbeat, read_beat

_PREFIX = ".tetrad-doctor-"


@contextmanager
def make_temporary_folder(out: Path) -> Iterator[Path]:
    """A folder on the disk of the results, with a sign of life of this process.  OSError where it cannot be made."""
    place = find_existing_folder(out)
    _remove_leftovers(place)
    folder = Path(tempfile.mkdtemp(dir=place, prefix=_PREFIX))
    heartbeat = Heartbeat(folder)
    heartbeat.start()
    try:
        yield folder
    finally:
        heartbeat.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(place: Path) -> None:
    """Remove the folders of checks that were killed."""
    for folder in place.glob(f"{_PREFIX}*"):
        beat = read_beat(folder)
        if beat is None or not beat.is_alive():
            shutil.rmtree(folder, ignore_errors=True)
