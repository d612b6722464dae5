"""Whether the run is saving just now, when it must not be ended."""

from collections.abc import Iterator
from contextlib import contextmanager

_depth = 0


@contextmanager
def saving() -> Iterator[None]:
    """Inside this context a second Ctrl-C does not end the program."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def is_saving() -> bool:
    return _depth > 0
