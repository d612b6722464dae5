"""Runs `tetrad` so that a signal arrives when its first file is written but not renamed, or so that a disk is full."""

import os
import resource

from tetrad.cli import main as run_command

_LIMIT = 1024  # bytes that a file may have on the full disk


def main() -> None:
    if number := int(os.environ["TETRAD_TEST_SIGNAL"]):
        flush = os.fsync

        def interrupt(file: int) -> None:
            os.kill(os.getpid(), number)
            flush(file)

        os.fsync = interrupt
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_LIMIT, _LIMIT))
    run_command()
