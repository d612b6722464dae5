"""The runs in the folder of runs, as their files say; what has not changed is not read again."""

import itertools
import os
import re
import statistics
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException

from tetrad.documents import open_regular, parse_json, read_stored_values
from tetrad.errors import TetradError
from tetrad.run.status import RunStatus, read_log, read_status
from tetrad.run.words import read_number
from tetrad.web.loss import LossSeries, read_last_steps
from tetrad.web.places import inside, is_plain_name

_WATCHED = ("", "events.jsonl", "metrics.jsonl", "error.json", "heartbeat", "plan.toml", "samples", "resume")
_TAIL_BYTES = 65_536
_ALIVE = ("running", "paused")
_TRAINED_SUFFIXES = (".safetensors", ".pt", ".bin", ".ckpt")
_SAMPLE = re.compile(r"step(\d{8})-(\d{2})\.png")
_PACE_STEPS = 50  # the last steps, of which the speed is measured
_FRESH_SECONDS = 1.0  # for which the state of a running process is taken as it was

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Pace:
    """How fast the last steps were, and the loss, smoothed as the terminal smooths it; 0 and None for no steps."""

    seconds_per_step: float = 0.0
    loss: float | None = None


@dataclass(frozen=True)
class Ending:
    """What the last events say: the phase, the last note, and how the run ended if it did."""

    phase: Values = field(default_factory=dict)
    has_trained: bool = False
    note: Values = field(default_factory=dict)
    finished: Values = field(default_factory=dict)
    preview_seconds: float = 0.0  # how long the last previews of all prompts took


@dataclass(frozen=True)
class Snapshot:
    """Everything a page shows of a run, read at one moment."""

    status: RunStatus
    plan: Values  # plan.toml, as its tables
    error: Values  # error.json
    ending: Ending
    pace: Pace
    samples: tuple[tuple[int, int], ...]  # the previews as step and number of the prompt, sorted
    files: tuple[Path, ...]  # trained files, the newest first
    is_waiting_for_disk: bool = False

    @property
    def name(self) -> str:
        return self.status.name

    @property
    def is_alive(self) -> bool:
        return self.status.state in _ALIVE

    def plan_value(self, key: str, default: Any) -> Any:
        """A value of the plan by its dotted key, or the default where there is none of its type."""
        value: Any = self.plan
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value if isinstance(value, type(default)) else default


class Runs:
    """Reads the runs in `folder`.  May be used by several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._snapshots: dict[str, tuple[tuple[int, ...], float, Snapshot]] = {}
        self._series: dict[str, LossSeries] = {}
        self._lock = threading.Lock()

    def list_names(self, search: str = "") -> list[str]:
        """The names of the runs, those changed last first; `search` is looked for in the names."""
        found = []
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                is_found = is_plain_name(path.name) and search.lower() in path.name.lower()
                if is_found and (changed := last_change(path)):
                    found.append((changed, path.name))
        return [name for _changed, name in sorted(found, reverse=True)]

    def path(self, name: str) -> Path:
        """The folder of a run.  404 where there is none of this name."""
        path = inside(self.folder, name)
        if not (path / "recipe.toml").is_file():
            raise HTTPException(404)
        return path

    def read_run(self, name: str) -> Snapshot:
        """The run as it is now.  404 where there is none of this name."""
        path, now = self.path(name), time.monotonic()
        signature = sign(path)
        known = self._snapshots.get(name)
        is_same = known is not None and known[0] == signature
        if known and is_same and (not known[2].is_alive or now - known[1] < _FRESH_SECONDS):
            return known[2]
        snapshot = read_snapshot(path)
        self._snapshots[name] = (signature, now, snapshot)
        return snapshot

    def read_runs(self, names: Iterable[str]) -> Iterator[Snapshot]:
        """These runs as they are now, without those that were removed meanwhile."""
        for name in names:
            try:
                run = self.read_run(name)
            except (HTTPException, TetradError, OSError):
                continue
            yield run

    def read_series(self, name: str) -> dict[str, Any]:
        """The losses and learning rates of a run."""
        path = self.path(name) / "metrics.jsonl"
        with self._lock:
            series = self._series.setdefault(name, LossSeries(path))
            series.update()
            return series.as_record()

    def read_events(self, name: str) -> Iterator[dict[str, Any]]:
        """All records of events.jsonl, the oldest first."""
        path = self.path(name) / "events.jsonl"
        return read_log(path) if path.is_file() else iter(())

    def forget(self, name: str) -> None:
        """Let go of what is known of a run that was removed."""
        with self._lock:
            self._series.pop(name, None)
        self._snapshots.pop(name, None)


def last_change(path: Path) -> int:
    """When a run last changed, by the files that every run writes; 0 for a folder of another kind."""
    try:
        changed = [(path / "recipe.toml").stat().st_mtime_ns]
    except OSError:
        return 0
    for name in ("events.jsonl", "metrics.jsonl"):
        try:
            changed.append((path / name).stat().st_mtime_ns)
        except OSError:
            continue
    return max(changed)


def sign(path: Path) -> tuple[int, ...]:
    """Times and sizes of everything that a snapshot is read from."""
    numbers: list[int] = []
    for name in _WATCHED:
        try:
            state = (path / name).stat()
        except OSError:
            numbers += (0, 0)
        else:
            numbers += (state.st_mtime_ns, state.st_size)
    return tuple(numbers)


def read_snapshot(path: Path) -> Snapshot:
    plan = read_stored_values(path / "plan.toml")
    status = read_status(path, plan)
    ending = read_ending(read_tail(path / "events.jsonl"))
    return Snapshot(
        status=status,
        plan=plan,
        error=read_stored_values(path / "error.json"),
        ending=ending,
        pace=measure_pace(path / "metrics.jsonl"),
        samples=tuple(list_samples(path / "samples")),
        files=tuple(list_trained_files(path)),
        is_waiting_for_disk=status.state in _ALIVE and ending.note.get("code") == "W4204",
    )


def read_ending(records: list[dict[str, Any]]) -> Ending:
    """What the last records say; those before the last resumption do not count for how the run ended."""
    phase: Values = {}
    note: Values = {}
    finished: Values = {}
    has_trained, preview_start, preview_seconds = False, 0.0, 0.0
    for record in records:
        event = record.get("event")
        if event == "started":  # another process went on here
            note, finished = {}, {}
        elif event == "phase":
            name = record.get("name")
            phase = name if isinstance(name, Mapping) else {}
            has_trained = has_trained or phase.get("template") == "training"
            is_preview = phase.get("template") == "generating previews"
            preview_start = read_number(record, "time") if is_preview else preview_start
        elif event == "note":
            note = record
        elif event == "finished":
            finished = record
        elif event == "sampled" and not record.get("prompt") and preview_start:
            preview_seconds = max(0.0, read_number(record, "time") - preview_start)
    return Ending(phase, has_trained, note, finished, preview_seconds)


def measure_pace(path: Path) -> Pace:
    """The median of the last steps' times, so that previews between them do not count, and the smoothed loss."""
    steps = list(read_last_steps(path))
    weighted = weight = 0.0
    for step in steps:
        if step.loss == step.loss:  # not NaN
            weighted, weight = 0.98 * weighted + 0.02 * step.loss, 0.98 * weight + 0.02
    last = steps[-_PACE_STEPS:]
    gaps = [two.time - one.time for one, two in itertools.pairwise(last) if two.step == one.step + 1]
    return Pace(statistics.median(gaps) if gaps else 0.0, weighted / weight if weight else None)


def list_samples(folder: Path) -> list[tuple[int, int]]:
    """The previews in a folder as step and number of the prompt, sorted."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return []
    matches = (_SAMPLE.fullmatch(name) for name in names)
    return sorted((int(match[1]), int(match[2])) for match in matches if match)


def list_trained_files(path: Path) -> list[Path]:
    """The trained files in a run's folder, the newest first."""
    found = []
    with suppress(OSError), os.scandir(path) as entries:  # the run may be deleted meanwhile
        for each in entries:  # with names that an address can have
            if is_plain_name(each.name) and each.name.endswith(_TRAINED_SUFFIXES) and each.is_file():
                with suppress(OSError):
                    found.append((each.stat().st_mtime, Path(each.path)))
    return [each for _time, each in sorted(found, reverse=True)]


def read_tail(path: Path) -> list[dict[str, Any]]:
    """The whole records near the end of a log, the oldest first."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return []
    return [record for record in map(read_record, lines) if record]


def read_record(line: str) -> dict[str, Any]:
    """A line of a log; empty for one that was cut off."""
    try:
        record = parse_json(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
