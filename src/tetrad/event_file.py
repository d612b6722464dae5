"""What a command prints, also as lines of JSON in a file, for a program that starts the command and shows what it does.

The environment variable TETRAD_EVENTS names the file; without it nothing is written. Each line is an object whose
"event" is phase (a sentence "name", and "total" units of work), progress ("done" of them), note (a sentence, with a
code where it has one), result (the "path" of a file that was written), text (a sentence about the result) or error.
Sentences are stored with their templates, so that they can be translated.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tetrad.documents import parse_json
from tetrad.locales import Message, recordable

VARIABLE = "TETRAD_EVENTS"
_SECONDS = 0.2  # between two lines of progress


def record_event(event: str, record: Mapping[str, Any]) -> None:
    """Add a line.  Where it cannot be written the command goes on: it prints the same."""
    if path := os.environ.get(VARIABLE):
        with suppress(OSError), Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({**record, "event": event}) + "\n")


def record_note(message: Message, code: str = "") -> None:
    record_event("note", {**message.as_record(), "code": code})


def record_result(value: object) -> None:
    """A path is that of a file that was written; anything else is a sentence about it."""
    if isinstance(value, Path):
        record_event("result", {"path": str(value.absolute())})
    else:
        record_event("text", value.as_record() if isinstance(value, Message) else {"text": str(recordable(value))})


class ProgressRecord:
    """The progress of a piece of work, in so few lines that they cost nothing."""

    def __init__(self, title: Message, total: int) -> None:
        self.total, self._last = total, 0.0
        record_event("phase", {"name": title.as_record(), "total": total})

    def show(self, done: int) -> None:
        if done >= self.total or time.monotonic() - self._last >= _SECONDS:
            self._last = time.monotonic()
            record_event("progress", {"done": done})


def read_events(path: Path) -> Iterator[Mapping[str, Any]]:
    """The events in a file, in their order; none where there is no file, and no line that is half-written."""
    with suppress(OSError):
        for line in path.read_bytes().splitlines():
            with suppress(ValueError):
                record = parse_json(line.decode("utf-8"))
                if isinstance(record, Mapping) and isinstance(record.get("event"), str):
                    yield record
