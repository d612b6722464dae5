"""What tests of the queue have in common: waiting, and jobs that take no time."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tetrad.web.jobs import Job, Queue

SERVER = Path(__file__).parent / "web_server.py"


def add_quick(queue: Queue, folder: Path, title: str = "", device: str = "cpu") -> int:
    """A job that only lists the runs of a folder."""
    return queue.add("runs", ["--out", str(folder)], folder, device, title)


def wait_until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def is_over(job: Job) -> bool:
    return not job.is_waiting and not job.is_alive


@contextmanager
def serving(state: Path, runs: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server of the queue in a process of its own; killed at the end if it was not before."""
    server = subprocess.Popen([sys.executable, str(SERVER), str(state), str(runs)])
    try:
        yield server
    finally:
        server.kill()
        server.wait()
