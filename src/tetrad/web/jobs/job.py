"""A job of the queue, with its state as it follows from the files of its process and of its run."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.event_file import read_events
from tetrad.run.heartbeat import Beat, read_beat
from tetrad.run.status import read_status
from tetrad.web.jobs.process import EVENTS, LOG, STOPPED, Exit, read_exit, read_process

JobState = Literal["queued", "held", "starting", "running", "paused", "finished", "interrupted", "failed"]
_TRAINING = {"train", "resume"}  # the commands that have a run's folder and print JSON
_INTERRUPTED = (75, STOPPED)  # exit codes of a command that was told to stop
_HEAD_BYTES, _TAIL_BYTES = 4_000_000, 65_536  # of a log, in which the run and the error are looked for


@dataclass(frozen=True)
class Wish:
    """What a person asked for: a command of tetrad, to be run in a folder, which relative paths start from."""

    id: int
    kind: str  # the command: "train", "resume", "generate", "grid", …
    arguments: tuple[str, ...]
    folder: Path
    device: str  # "cpu", "cuda:0", or "auto", which may be any
    title: str
    created: float  # Unix time
    is_held: bool  # it is not started until a person says so

    @property
    def trains(self) -> bool:
        """Whether the command trains in the folder of a run, and can print JSON."""
        return not _TRAINING.isdisjoint({self.kind})


@dataclass(frozen=True)
class Job:
    """A wish and what became of it."""

    wish: Wish
    state: JobState
    log: Path  # what the command prints; there is none before it starts
    run: Path | None = None  # the folder of the run that the command trains
    process: Beat | None = None
    exit: Exit | None = None
    error: Mapping[str, Any] = field(default_factory=dict)  # of a failed job: {"text", "code"?, "template"?, "values"?}

    @property
    def id(self) -> int:
        return self.wish.id

    @property
    def is_waiting(self) -> bool:
        return self.state in ("queued", "held")

    @property
    def is_alive(self) -> bool:
        return self.state in ("starting", "running", "paused")


def read_job(wish: Wish, folder: Path) -> Job:
    """The job as it is now; `folder` is its own, which its process writes to."""
    log, process = folder / LOG, read_process(folder)
    if process is None:
        return Job(wish, "held" if wish.is_held else "queued", log)
    run, end = find_run_in_log(log), read_exit(folder)
    if end is None and process.is_alive():
        return Job(wish, _state_of_living(wish, run), log, run, process)
    if end is None:  # killed, perhaps after its last file was written
        state: JobState = "finished" if _has_finished(run) else "interrupted"
    elif end.code == 0:
        state = "finished"
    else:
        state = "interrupted" if end.code in _INTERRUPTED else "failed"
    return Job(wish, state, log, run, process, end, read_error(log) if state == "failed" else {})


def _state_of_living(wish: Wish, run: Path | None) -> JobState:
    if run is None:
        return "starting" if wish.trains else "running"
    beat = read_beat(run)
    return "paused" if beat and beat.paused else "running"


def _has_finished(run: Path | None) -> bool:
    if run is not None:
        with suppress(TetradError, OSError):
            return read_status(run).state == "finished"
    return False


def find_run_in_log(log: Path) -> Path | None:
    """The folder of the run, which the command prints as soon as it has one; None for no run."""
    for record in _read_records(log, 0, _HEAD_BYTES):
        if record.get("event") == "started":
            return Path(str(record.get("folder")))
    return None


def read_error(log: Path) -> Mapping[str, Any]:
    """What a failed command said last: the record of its error, or the last line of its log as {"text": …}."""
    try:
        size = log.stat().st_size
        records = [*_read_records(log, max(0, size - _TAIL_BYTES), _TAIL_BYTES), *read_events(log.with_name(EVENTS))]
        lines = log.read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace").splitlines()
    except OSError:
        return {}
    found = next((each for each in reversed(records) if each.get("event") == "error"), None)
    return found or {"text": next((line for line in reversed(lines) if line.strip()), "")}


def _read_records(log: Path, start: int, size: int) -> Iterator[Mapping[str, Any]]:
    """The JSON objects among the lines of a part of a log."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            for line in file.read(size).splitlines():
                if line.startswith(b"{"):
                    with suppress(ValueError):
                        record = parse_json(line.decode("utf-8", "replace"))
                        if isinstance(record, dict):
                            yield record
    except OSError:
        return
