"""The queue: which commands people want to run, and in which order; in a database that survives the server."""

import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import psutil

from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.run.control import Command, send_command
from tetrad.run.heartbeat import Beat
from tetrad.web.jobs.job import Job, Wish, read_job
from tetrad.web.jobs.process import describe_this_process, read_process

_WAIT_SECONDS = 30.0  # for another process that writes the database
_START_SECONDS = 60.0  # within which a process that was started has written its file
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    arguments TEXT NOT NULL,
    folder TEXT NOT NULL,
    device TEXT NOT NULL,
    title TEXT NOT NULL,
    created REAL NOT NULL,
    held INTEGER NOT NULL DEFAULT 0,
    claim TEXT NOT NULL DEFAULT ''
)
"""
_MAX_INTEGER = 2**63  # of SQLite
_COLUMNS = "id, kind, arguments, folder, device, title, created, held"


class Queue:
    """The jobs in a state folder; any number of threads and processes may use it at once.

    Nothing here says what a job is doing: that follows from the files which its process writes.
    """

    def __init__(self, state: Path) -> None:
        """`state` is made if it does not exist.  Raises OSError."""
        self.jobs = state / "jobs"
        self.jobs.mkdir(parents=True, exist_ok=True)
        self.path = state / "queue.sqlite"
        with self._open() as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(_SCHEMA)

    def add(self, kind: str, arguments: Sequence[str], folder: Path, device: str = "auto", title: str = "") -> int:
        """Put `tetrad KIND ARGUMENTS…` at the end; returns the number of the job.

        The command runs in `folder`, and never through a shell.
        """
        values = (kind, json.dumps(list(arguments)), str(folder), device, title or kind, time.time())
        with self._write() as database:
            cursor = database.execute(
                "INSERT INTO jobs (position, kind, arguments, folder, device, title, created)"
                " SELECT coalesce(max(position), 0) + 1, ?, ?, ?, ?, ?, ? FROM jobs",
                values,
            )
            number = cursor.lastrowid
        assert number is not None
        return number

    def list(self) -> list[Job]:
        """All jobs in the order of the queue, those that have ended too."""
        with self._open() as database:
            rows = database.execute(f"SELECT {_COLUMNS} FROM jobs ORDER BY position, id").fetchall()
        return [read_job(wish, self.folder_of(wish.id)) for wish in map(_to_wish, rows)]

    def read_job(self, number: int) -> Job:
        """One job.  E4301 where there is none with this number."""
        row = None
        if abs(number) < _MAX_INTEGER:
            with self._open() as database:
                row = database.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise TetradError("E4301", _("there is no job {number} in the queue; it was removed"), number=number)
        return read_job(_to_wish(row), self.folder_of(number))

    def move(self, number: int, before: int | None) -> None:
        """Put a job before another one, or at the end (None).  E4301 where one of them does not exist."""
        self.read_job(number)
        if before is not None:
            self.read_job(before)
        with self._write() as database:
            order = [row[0] for row in database.execute("SELECT id FROM jobs ORDER BY position, id")]
            order = [each for each in order if each != number]
            order.insert(order.index(before) if before in order else len(order), number)
            places = [(place, each) for place, each in enumerate(order, 1)]
            database.executemany("UPDATE jobs SET position = ? WHERE id = ?", places)

    def remove(self, number: int) -> None:
        """Take a job and its log out of the queue; its run stays.  E4302 while it runs."""
        with self._write() as database:
            job = self.read_job(number)
            if job.is_alive or self._is_claimed(database, number):
                raise TetradError("E4302", _("{title} is running; stop it first"), title=job.wish.title)
            database.execute("DELETE FROM jobs WHERE id = ?", (number,))
        shutil.rmtree(self.folder_of(number), ignore_errors=True)

    def pause(self, number: int) -> None:
        """Hold a waiting job back, or pause the run of a running one.  E4302 for a job that cannot be paused."""
        self._hold_or_send(number, True, "pause")

    def go_on(self, number: int) -> None:
        """Let a held job start when its turn comes, or continue a paused run.  E4302 where neither is possible."""
        self._hold_or_send(number, False, "continue")

    def stop(self, number: int) -> None:
        """Stop a running job: a run saves after its step, any other command ends.  E4302 where it does not run."""
        job = self.read_job(number)
        if not job.is_alive or job.process is None:
            raise TetradError("E4302", _("{title} is not running"), title=job.wish.title)
        if job.run is not None:
            send_command(job.run, "stop")
        else:
            _terminate(job.process)

    def claim(self, number: int) -> bool:
        """Whether this process may start the job now; no other one may, until it is known whether it has started."""
        with self._write() as database:
            row = database.execute("SELECT held FROM jobs WHERE id = ?", (number,)).fetchone()
            if row is None or row[0] or read_process(self.folder_of(number)) or self._is_claimed(database, number):
                return False
            claim = json.dumps(asdict(describe_this_process()))
            database.execute("UPDATE jobs SET claim = ? WHERE id = ?", (claim, number))
        return True

    def folder_of(self, number: int) -> Path:
        """The folder of a job, for its log and what its process writes."""
        return self.jobs / str(number)

    def _hold_or_send(self, number: int, is_held: bool, command: Command) -> None:
        job = self.read_job(number)
        if job.is_waiting:
            with self._write() as database:
                database.execute("UPDATE jobs SET held = ? WHERE id = ?", (is_held, number))
        elif job.is_alive and job.run is not None:
            send_command(job.run, command)
        else:
            template = _("{title} cannot be paused or continued, because it has no run that is training")
            raise TetradError("E4302", template, title=job.wish.title)

    def _is_claimed(self, database: sqlite3.Connection, number: int) -> bool:
        """Whether a living server has just started the job, and its process has not written its file yet."""
        (claim,) = database.execute("SELECT claim FROM jobs WHERE id = ?", (number,)).fetchone()
        if not claim or read_process(self.folder_of(number)):
            return False
        owner = Beat(**parse_json(claim))
        return 0 <= time.time() - owner.time < _START_SECONDS and owner.is_alive()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None)
        try:
            yield database
        finally:
            database.close()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is the only writer from its start, so that what it reads stays true until its end."""
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")


def _to_wish(row: tuple[int, str, str, str, str, str, float, int]) -> Wish:
    number, kind, arguments, folder, device, title, created, held = row
    return Wish(number, kind, tuple(parse_json(arguments)), Path(folder), device, title, created, bool(held))


def _terminate(process: Beat) -> None:
    """Tell a job's process, and those that it has started, to end."""
    if not process.is_alive():
        return
    if os.name == "nt":
        psutil.Process(process.pid).terminate()
    else:
        os.killpg(process.pid, signal.SIGTERM)  # it leads its own group
