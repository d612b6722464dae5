"""Who is told how much of a download has arrived."""

from collections.abc import Callable
from contextvars import ContextVar

# Gets the address, the bytes that have arrived, and how many there will be.
show_download: ContextVar[Callable[[str, int, int], None] | None] = ContextVar("show_download", default=None)
