"""Start Tetrad in a process of its own that trains beside this one."""

import subprocess
import sys
from collections.abc import Mapping
from typing import IO


def start_own_process(
    arguments: list[str], log: IO[bytes], environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start Tetrad with these arguments where no signal of this terminal reaches it: it is stopped by its folder.

    What it prints goes to `log`; without an `environment` it has the one of this process.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "tetrad", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # of Windows
    )
