"""Writing to a disk that may be full: wait until there is space again, and say how much is missing."""

import errno
import shutil
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.run.events import Event, Note
from tetrad.sizes import format_size

_RETRY_SECONDS = 3.0
_LOOK_SECONDS = 0.2  # between two looks at whether the run is to stop
_FULL = tuple(number for name in ("ENOSPC", "EDQUOT") if (number := getattr(errno, name, None)) is not None)
_FULL_TEXTS = tuple(f"(os error {number})" for number in (*_FULL, 112))  # of safetensors; 112 is that of Windows
Result = TypeVar("Result")


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is that of a full disk or a used-up quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if type(error).__name__ == "SafetensorError" and str(error).endswith(_FULL_TEXTS):
            return True
        error = error.__cause__
    return False


class DiskGuard:
    """Does what writes again and again while the disk is full, unless it is not to wait or `stop` returns True."""

    def __init__(self, stop: Callable[[], bool], waits: bool = True) -> None:
        self.stop, self.waits = stop, waits

    def write(self, path: Path, size: int, write: Callable[[], Result]) -> Generator[Event, None, Result]:
        """What `write` returns; it writes about `size` bytes at `path`.  Raises its errors, also that of a full disk
        where nobody waits for space."""
        is_waiting = False
        while True:
            try:
                result = write()
            except (OSError, TetradError) as error:
                if not is_full_disk(error) or not self.waits:
                    raise
                if not is_waiting:
                    yield Note(_describe(path, size), "W4204")
                is_waiting = True
                if self._stops_while_waiting():
                    raise
            else:
                if is_waiting:
                    yield Note(Message(_("{path} is written; the run goes on"), path=path))
                return result

    def _stops_while_waiting(self) -> bool:
        """Wait until the next attempt; True where the run is to stop."""
        end = time.monotonic() + _RETRY_SECONDS
        while not (stops := self.stop()) and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
        return stops


NO_WAITING = DiskGuard(lambda: False, waits=False)


def _describe(path: Path, size: int) -> Message:
    """How much is needed and how much there is; with a quota there may be enough on the disk itself."""
    folder = next((each for each in path.absolute().parents if each.exists()), path)
    free = shutil.disk_usage(folder).free
    values = {"path": path, "needed": format_size(size), "missing": format_size(max(0, size - free))}
    if free < size:
        template = _(
            "the disk is full: {path} needs {needed}, and {missing} are missing; the run waits until there is space"
        )
        return Message(template, **values)
    template = _("the disk or its quota is full: {path} needs {needed}; the run waits until there is space")
    return Message(template, **values)
