"""A sign of life of a running process in its run's folder, and locks that let only one process write into a folder."""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from tetrad.documents import read_stored_values
from tetrad.errors import TetradError
from tetrad.locales import _

INTERVAL_SECONDS = 2.0
_SILENT_SECONDS = 15.0  # after which a process on another computer counts as ended
_CLOCK_TOLERANCE = 2.0  # seconds between two readings of the start time of one process


@dataclass(frozen=True)
class Beat:
    """The content of the file `heartbeat`; `time` is a Unix time, `process_started` what `read_start_time` gives."""

    pid: int
    process_started: float
    host: str
    step: int = 0
    paused: bool = False
    time: float = 0.0

    def is_valid(self) -> bool:
        """Whether its values are of the right kind, which those of a damaged file may not be."""
        numbers = (self.process_started, self.time, self.step)
        are_numbers = all(isinstance(number, int | float) for number in numbers)
        return are_numbers and isinstance(self.host, str) and isinstance(self.pid, int) and self.pid > 0

    def is_alive(self) -> bool:
        """Whether the process still runs; of another computer, whether it was heard of lately."""
        if self.host != socket.gethostname():
            return time.time() - self.time < _SILENT_SECONDS
        try:
            process = psutil.Process(self.pid)
            is_same = abs(read_start_time(process) - self.process_started) < _CLOCK_TOLERANCE
            is_since_boot = self.time > psutil.boot_time() - _CLOCK_TOLERANCE
            return is_same and is_since_boot and bool(process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


def read_start_time(process: psutil.Process) -> float:
    """When a process started, in seconds; on Linux since the machine did, which a change of the clock leaves alone."""
    return float(process.create_time() - (psutil.boot_time() if sys.platform.startswith("linux") else 0.0))


class Heartbeat:
    """Writes the file `heartbeat` every two seconds from a thread of its own, whatever the run is doing."""

    def __init__(self, folder: Path) -> None:
        self.path, self.staged = folder / "heartbeat", folder / ".heartbeat"
        process = psutil.Process()
        self.identity = (process.pid, read_start_time(process), socket.gethostname())
        self.step, self.paused = 0, False
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._beat_until_the_end, daemon=True)

    def beat(self) -> None:
        """Write the file now; a disk that refuses it does not end the run."""
        beat = Beat(*self.identity, step=self.step, paused=self.paused, time=time.time())
        with suppress(OSError):
            self.staged.write_text(json.dumps(asdict(beat)), "utf-8")
            self.staged.replace(self.path)  # not flushed to the disk: it says nothing after a power cut

    def start(self) -> None:
        self.beat()
        self.thread.start()

    def stop(self) -> None:
        self.ended.set()
        self.thread.join()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
            self.staged.unlink(missing_ok=True)

    def _beat_until_the_end(self) -> None:
        while not self.ended.wait(INTERVAL_SECONDS):
            self.beat()


def read_beat(folder: Path) -> Beat | None:
    """The last sign of life in a run's folder; None where there is none."""
    return read_beat_file(folder / "heartbeat")


def read_beat_file(path: Path) -> Beat | None:
    """The process that a file describes; None where it is damaged, or not there."""
    try:
        beat = Beat(**read_stored_values(path))
    except TypeError:
        return None
    return beat if beat.is_valid() else None


def describe_process(pid: int) -> Beat | None:
    """A process of this computer as it is now; None where it has ended already."""
    with suppress(psutil.Error):
        return Beat(pid, read_start_time(psutil.Process(pid)), socket.gethostname(), time=time.time())
    return None


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a run's folder.  E4203 where another process has it."""

    def explain() -> TetradError:
        beat = read_beat(folder)
        template = _(
            "{folder} is in use by process {pid}; wait until it has ended, or stop it with: tetrad runs stop {name}"
        )
        return TetradError("E4203", template, folder=folder, pid=beat.pid if beat else "?", name=folder.name)

    with hold_lock(folder / "lock", explain):
        yield


@contextmanager
def hold_lock(path: Path, explain: Callable[[], TetradError]) -> Iterator[None]:
    """Hold a lock file; the system releases it when the process ends, however it ends.  `explain` where another has it.

    A disk that has no locks is used without one.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise explain() from error
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            if os.name != "nt":  # Windows cannot remove an open file; elsewhere it must go before another one takes it
                path.unlink(missing_ok=True)
        lock.release()
