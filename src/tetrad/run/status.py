"""The state of a run: derived from the files in its folder and never stored, so that it cannot be out of date."""

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tetrad.documents import open_regular, parse_json, read_stored_values
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.run.heartbeat import read_beat

RunState = Literal["running", "paused", "finished", "interrupted", "failed"]
_RECIPE, _ERROR = "recipe.toml", "error.json"
_TAIL_BYTES = 65_536  # of a log, in which its last lines are looked for


@dataclass(frozen=True)
class RunStatus:
    """`step` is the last one in the log, `resume_step` that of the newest resume point, 0 for none."""

    path: Path
    state: RunState
    step: int
    steps: int
    resume_step: int
    method: str
    started: float  # Unix time
    changed: float  # Unix time of the last sign of life
    size: int  # bytes of the whole folder
    error: str  # the sentence of a failed run

    @property
    def name(self) -> str:
        return self.path.name


def read_status(path: Path, plan: Mapping[str, Any] | None = None) -> RunStatus:
    """The status of the run in a folder.  E5162 where the folder is not that of a run.

    `plan` are the values of plan.toml, where they have been read already.
    """
    if not (path / _RECIPE).is_file():
        raise TetradError("E5162", _("{folder} is not the folder of a run, because it has no recipe.toml"), folder=path)
    last = _last_record(path / "metrics.jsonl")
    events = _last_record(path / "events.jsonl", "finished")
    beat, error = read_beat(path), read_stored_values(path / _ERROR)
    is_alive = beat is not None and beat.is_alive()
    state: RunState = "interrupted"
    if beat is not None and is_alive:
        state = "paused" if beat.paused else "running"
    elif error:
        state = "failed"
    elif events.get("complete"):
        state = "finished"
    plan = read_stored_values(path / "plan.toml") if plan is None else plan
    train, method = _section(plan, "train"), _section(plan, "method")
    changed, size = _measure_folder(path)
    return RunStatus(
        path=path,
        state=state,
        step=_as_count(last.get("step")),
        steps=_as_count(last.get("steps")) or _as_count(train.get("steps")),
        resume_step=max((int(point.name[5:]) for point in (path / "resume").glob("step-" + 8 * "[0-9]")), default=0),
        method=str(method.get("kind", "") or _method_of(path)),
        started=(path / _RECIPE).stat().st_mtime,
        changed=changed,
        size=size,
        error=str(error.get("text", "")),
    )


def _measure_folder(path: Path) -> tuple[float, int]:
    """When a file in it was changed last, and the bytes of all; a file that the run removes meanwhile is left out."""
    changed, size = 0.0, 0
    for folder, _folders, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                state = (Path(folder) / name).stat()
                if stat.S_ISREG(state.st_mode):
                    changed, size = max(changed, state.st_mtime), size + state.st_size
    return changed, size


def keeps_points(path: Path) -> bool:
    """Whether the run in a folder is to keep its resume points when it has ended."""
    return bool(_section(read_stored_values(path / _RECIPE), "save").get("keep_resume", False))


def list_runs(folder: Path) -> list[RunStatus]:
    """The runs in a folder, the newest first; a folder of another kind is left out."""
    found = [path for path in folder.iterdir() if (path / _RECIPE).is_file()] if folder.is_dir() else []
    return sorted(map(read_status, found), key=lambda status: status.changed, reverse=True)


def find_run(name: str, folder: Path) -> Path:
    """The folder of a run, given by path or by its name in `folder`.  E5162 where there is none."""
    for path in (Path(name), folder / name):
        if (path / _RECIPE).is_file():
            return path
    known = ", ".join(status.name for status in list_runs(folder)[:10])
    if not known:
        raise TetradError(
            "E5162", _("there is no run named {name}, and {folder} has no runs"), name=name, folder=folder
        )
    template = _("there is no run named {name}; {folder} has {known}")
    raise TetradError("E5162", template, name=name, folder=folder, known=known)


def remove_run(path: Path) -> Iterator[Path]:
    """Remove what a run needs only to go on, and its logs and previews; yields each.  Trained files always stay."""
    for name in ("resume", "samples", "control", "events.jsonl", "metrics.jsonl", "error.json", "heartbeat"):
        target = path / name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target, ignore_errors=True)
        elif target.exists() or target.is_symlink():
            target.unlink()
        else:
            continue
        yield target


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a log, line by line; a line that was cut off is left out."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if record := _parse_record(line):
                yield record


def _last_record(path: Path, event: str = "") -> dict[str, Any]:
    """The last whole record near the end of a log, of one kind of event if one is given; empty for none."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return {}
    records = map(_parse_record, reversed(lines))
    return next((record for record in records if record and event in ("", record.get("event"))), {})


def _parse_record(line: str) -> dict[str, Any]:
    try:
        record = parse_json(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section of a recipe or plan; empty where there is none."""
    section = values.get(name)
    return section if isinstance(section, dict) else {}


def _as_count(value: object) -> int:
    """A number of steps; 0 for anything else that a damaged file has in its place."""
    return value if isinstance(value, int) and value > 0 else 0


def _method_of(path: Path) -> str:
    """The method in a run's recipe; a recipe without one is that of a VAE decoder."""
    return str(_section(read_stored_values(path / _RECIPE), "method").get("kind", "vae-decoder"))
