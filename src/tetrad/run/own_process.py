"""Start Tetrad in a process of its own that trains beside this one, and know it again after this one was killed."""

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO

from tetrad.formats.atomic_write import replace_file
from tetrad.run.control import send_command
from tetrad.run.heartbeat import describe_process, read_beat_file
from tetrad.run.status import read_status


def start_own_process(
    arguments: list[str], log: IO[bytes], mark: Path, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start Tetrad with these arguments where no signal of this terminal reaches it: it is stopped by its folder.

    What it prints goes to `log`; without an `environment` it has the one of this process. `mark` becomes a file by
    which `is_own_process_alive` knows it, since a run has no folder, or no sign of life in it, until its images are
    read.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tetrad", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # of Windows
    )
    if beat := describe_process(process.pid):
        replace_file(mark, json.dumps(asdict(beat)).encode(), flushes=False)
    return process


def is_own_process_alive(mark: Path) -> bool:
    """Whether the process that was started with this mark still runs, whoever has started it."""
    beat = read_beat_file(mark)
    return beat is not None and beat.is_alive()


def is_training(run: Path) -> bool:
    """Whether a process trains in a run's folder."""
    return (run / "recipe.toml").is_file() and read_status(run).state in ("running", "paused")


def stop_own_process(run: Path) -> bool:
    """Tell the process that trains in a run's folder to save and end.

    False where none obeys yet: a process that begins removes what was said to the one before it.
    """
    with suppress(OSError):
        if is_training(run):
            send_command(run, "stop")
            return True
    return False
