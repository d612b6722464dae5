"""Starts the jobs of the queue: in each device's lane the next one as soon as the device is free."""

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tetrad.web.jobs.job import Job
from tetrad.web.jobs.lanes import list_busy_devices, overlap, read_device
from tetrad.web.jobs.process import LOG, enter_process, read_process, record_exit
from tetrad.web.jobs.queue import Queue

_LOOK_SECONDS = 1.0
_NOT_STARTED = 1  # the exit code of a job whose process could not be started
_logger = logging.getLogger(__name__)


def _do_nothing(job: Job) -> None: ...


class Supervisor:
    """A thread that looks after a queue.  Several at once are fine, also in other processes: a job starts once.

    `runs` are the folders in which runs are looked for that were started from a terminal; a device with one is busy.
    `before_start` is called in the thread before a job starts, for example to free the device's memory.
    """

    def __init__(
        self,
        queue: Queue,
        runs: Sequence[Path] = (),
        before_start: Callable[[Job], None] = _do_nothing,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self.queue, self.runs, self.before_start, self.look_seconds = queue, runs, before_start, look_seconds
        self._children: dict[int, subprocess.Popen[bytes]] = {}  # by the number of the job
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._ended.clear()
        self._thread = threading.Thread(target=self._look_until_the_end, daemon=True, name="supervisor")
        self._thread.start()

    def stop(self) -> None:
        """End the thread; jobs that run go on."""
        self._ended.set()
        if self._thread:
            self._thread.join()

    def look(self) -> list[int]:
        """Start every job whose turn it is; returns their numbers."""
        self._reap()
        jobs = self.queue.list()
        pids = {job.process.pid for job in jobs if job.is_alive and job.process}
        busy = [read_device(job.run) if job.run else job.wish.device for job in jobs if job.is_alive]
        busy += [each.device for each in list_busy_devices(self.runs) if each.pid not in pids]
        started = []
        for job in jobs:
            if job.state != "queued":
                continue
            is_free = not any(overlap(job.wish.device, device) for device in busy)
            busy.append(job.wish.device)  # of a job that has to wait too, so that no later one overtakes it
            if is_free and self.queue.claim(job.id):
                self.before_start(job)
                self._start(job)
                started.append(job.id)
        return started

    def _start(self, job: Job) -> None:
        """Start the command in a session of its own, where nothing that happens to this process reaches it."""
        folder = self.queue.folder_of(job.id)
        folder.mkdir(parents=True, exist_ok=True)
        arguments = [job.wish.kind, *job.wish.arguments]
        if job.wish.trains and "--json" not in arguments:
            arguments.append("--json")  # it says in which folder it trains, and what went wrong in which words
        with (folder / LOG).open("ab") as log:
            try:
                self._children[job.id] = subprocess.Popen(
                    # -P: a Python file in the working folder is never imported.
                    [sys.executable, "-P", "-m", "tetrad.web.jobs.child", str(folder), *arguments],
                    cwd=job.wish.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # of Windows
                )
            except OSError as error:
                log.write(f"{error}\n".encode())
                _record_failure(folder, _NOT_STARTED)

    def _reap(self) -> None:
        """Take note of the children that have ended, so that they leave no zombies."""
        for number, child in list(self._children.items()):
            if child.poll() is None:
                continue
            del self._children[number]
            folder = self.queue.folder_of(number)
            if folder.is_dir() and read_process(folder) is None:  # it ended before it could write who it is
                _record_failure(folder, child.returncode)

    def _look_until_the_end(self) -> None:
        while not self._ended.wait(self.look_seconds):
            try:
                self.look()
            except Exception:  # a full disk or a folder that was removed must not end the queue
                _logger.exception("the queue could not be looked after")


def _record_failure(folder: Path, code: int) -> None:
    """Write in the place of a process that did not come so far; otherwise the job would be started again and again."""
    if enter_process(folder):
        record_exit(folder, code)
