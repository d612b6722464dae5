"""Jobs that work on files: what was asked for, what the command has said so far, and what came of it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tetrad.documents import parse_json, read_text_file
from tetrad.event_file import read_events
from tetrad.formats.atomic_write import replace_file
from tetrad.locales import Message, _, translate_record
from tetrad.web.jobs import EVENTS, Job
from tetrad.web.page_words import as_sentence

_ORDER, _IMAGES = "work.json", "images"


@dataclass
class Said:
    """What a command has said: its phase and how much of it is done, notes, results as paths and as sentences."""

    phase: Mapping[str, Any] = field(default_factory=dict)
    total: int = 0
    done: int = 0
    notes: list[Mapping[str, Any]] = field(default_factory=list)
    texts: list[Mapping[str, Any]] = field(default_factory=list)
    results: list[Path] = field(default_factory=list)

    @property
    def percent(self) -> int:
        return min(100, 100 * self.done // self.total) if self.total else 0


def write_order(folder: Path, order: Mapping[str, Any]) -> None:
    """Keep what was asked for in the folder of the job."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / _ORDER, json.dumps(order, ensure_ascii=False).encode())


def read_order(job: Job) -> dict[str, Any]:
    """What was asked for; empty for a job that is no work on files."""
    try:
        order = parse_json(read_text_file(job.log.with_name(_ORDER)))
    except (OSError, ValueError):
        return {}
    return order if isinstance(order, dict) else {}


def images_of(job: Job) -> Path:
    """The folder for the images that show the result; it goes with the job."""
    folder: Path = job.log.with_name(_IMAGES)
    return folder


def read_said(job: Job) -> Said:
    said = Said()
    for record in read_events(job.log.with_name(EVENTS)):
        if (take := _TAKES.get(str(record["event"]))) is not None:
            take(said, record)
    return said


def _take_phase(said: Said, record: Mapping[str, Any]) -> None:
    said.phase, said.total, said.done = record.get("name", {}), int(record.get("total", 0)), 0


def _take_progress(said: Said, record: Mapping[str, Any]) -> None:
    said.done = int(record.get("done", 0))


def _take_note(said: Said, record: Mapping[str, Any]) -> None:
    said.notes.append(record)


def _take_text(said: Said, record: Mapping[str, Any]) -> None:
    said.texts.append(record)


def _take_result(said: Said, record: Mapping[str, Any]) -> None:
    said.results.append(Path(str(record.get("path"))))


_TAKES: dict[str, Callable[[Said, Mapping[str, Any]], None]] = {
    "phase": _take_phase,
    "progress": _take_progress,
    "note": _take_note,
    "text": _take_text,
    "result": _take_result,
}
_ENDED = {
    "finished": _("It is done."),
    "interrupted": _("It was stopped, and wrote nothing."),
    "starting": _("The program is being loaded; this takes some seconds."),
}


def describe_work(job: Job, said: Said) -> str:
    """The sentence of a job that runs or has ended well: how far it is."""
    if job.state == "running" and said.total:
        template = _("{phase}: {done:,} of {total:,}")
        return str(Message(template, phase=translate_record(said.phase), done=said.done, total=said.total))
    return str(Message(_ENDED.get(job.state, _ENDED["starting"])))


def translate_all(records: Sequence[Mapping[str, Any]]) -> list[str]:
    return [text for record in records if (text := as_sentence(record))]
