"""Standard output and standard error that are closed, full, or no longer read."""

import errno
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TextIO

from tetrad.errors import TetradError
from tetrad.locales import _

_UNREAD = 1  # exit code where the program that reads the output has ended, as of Python and click
_lost_streams: set[int] = set()


def ends_where_output_is_lost(command: Callable[[], None]) -> Callable[[], None]:
    """A command that ends without a traceback where its output cannot be written: with E4202 on stderr."""

    @wraps(command)
    def run() -> None:
        open_missing_streams()
        try:
            try:
                command()
            finally:
                sys.stdout.flush()
        except OSError as error:
            if not drop_lost_streams(error):
                raise
            if isinstance(error, BrokenPipeError):
                sys.exit(_UNREAD)
            template = _("the output cannot be written ({reason}); free some space, or send it elsewhere")
            lost = TetradError("E4202", template, reason=error.strerror)
            print(lost, file=sys.stderr)
            sys.exit(lost.exit_code)

    return run


def open_missing_streams() -> None:
    """Open a stream to nowhere for each standard stream that was closed before the start (`2>&-`)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the program ends


def drop_lost_streams(error: OSError) -> bool:
    """Send to nowhere whatever is still written to a stream that cannot be written; whether there is such a stream."""
    found = [number for number, stream in ((1, sys.stdout), (2, sys.stderr)) if not can_flush(stream)]
    if not found and error.errno in (errno.EPIPE, errno.ENOSPC) and error.filename is None:  # streams without a buffer
        found = [2 if 1 in _lost_streams else 1]
    for number in found:
        _lost_streams.add(number)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
    return bool(found)


def can_flush(stream: TextIO) -> bool:
    try:
        stream.flush()
    except OSError:
        return False
    return True
