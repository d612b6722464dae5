"""What the process of a job writes into the job's folder: who it is when it starts, and how it ended.

It is written by the job itself, so that it is known whatever happens to the server meanwhile. `process.json` is created
only once: of two processes that are started for one job, the second one finds it and ends.
"""

import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tetrad.documents import parse_json, read_text_file
from tetrad.formats.atomic_write import replace_file
from tetrad.run.heartbeat import Beat, read_start_time

LOG, EVENTS = "output.log", "events.jsonl"
STOPPED = 130  # exit code of a command that was told to stop
_PROCESS, _EXIT = "process.json", "exit.json"


@dataclass(frozen=True)
class Exit:
    """How a job ended: the exit code of its command, and when (Unix time)."""

    code: int
    time: float


def describe_this_process() -> Beat:
    process = psutil.Process()
    return Beat(process.pid, read_start_time(process), socket.gethostname(), time=time.time())


def enter_process(folder: Path) -> bool:
    """Write that this process runs the job; False where another one has done so before."""
    staged = folder / f".{_PROCESS}.{os.getpid()}"
    staged.write_text(json.dumps(asdict(describe_this_process())), "utf-8")
    try:
        os.link(staged, folder / _PROCESS)  # appears with its content, and only if there is none yet
        return True
    except FileExistsError:
        return False
    except OSError:  # a disk without hard links
        return _create_from(staged, folder / _PROCESS)
    finally:
        staged.unlink()


def _create_from(staged: Path, path: Path) -> bool:
    """Create a file with the content of another; False where it exists already."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(staged.read_text("utf-8"))
    except FileExistsError:
        return False
    return True


def record_exit(folder: Path, code: int) -> None:
    """Write how the job ended.  Raises OSError."""
    replace_file(folder / _EXIT, json.dumps(asdict(Exit(code, time.time()))).encode())


def read_process(folder: Path) -> Beat | None:
    """The process that runs the job, or ran it; None where it was never started."""
    try:
        return Beat(**parse_json(read_text_file(folder / _PROCESS)))
    except (OSError, ValueError, TypeError):
        return None


def read_exit(folder: Path) -> Exit | None:
    """How the job ended; None where it did not end by itself."""
    try:
        return Exit(**parse_json(read_text_file(folder / _EXIT)))
    except (OSError, ValueError, TypeError):
        return None
