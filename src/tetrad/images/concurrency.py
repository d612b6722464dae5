"""What lets threads decode images at the same time: a limit on the pixels in memory, and silenced warnings."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_PIXEL_LIMIT = 120_000_000  # about 1 GB, as decoding and converting an image takes some 8 bytes for each pixel


class PixelBudget:
    """How many pixels of images may be in memory at a time; a larger image waits until it is alone."""

    def __init__(self, limit: int = _PIXEL_LIMIT) -> None:
        self.limit, self._used = limit, 0
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for an image of so many pixels; it is given back at the end of the `with` block."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + pixels <= self.limit)
            self._used += pixels
        try:
            yield
        finally:
            with self._changed:
                self._used -= pixels
                self._changed.notify_all()


PIXEL_BUDGET = PixelBudget()


class SilencedWarnings:
    """A context in which Python warnings are off.  `warnings.catch_warnings` by itself is not for several threads.

    The first thread that enters turns them off, and the last one that leaves restores them.
    """

    def __init__(self) -> None:
        self._lock, self._depth = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._depth -= 1
            if not self._depth:
                self._saved.__exit__(None, None, None)


SILENCED_WARNINGS = SilencedWarnings()
