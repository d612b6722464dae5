"""What changes, sent to the browser as it happens: one stream of server-sent events for each tab.

The id of an event is the position in the logs of each run that the tab watches, so a browser that lost the connection
goes on where it was: nothing is lost and nothing comes twice, also after the server was started again.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.requests import Request

from tetrad.documents import open_regular
from tetrad.run.words import describe_record
from tetrad.web.figures import format_clock
from tetrad.web.loss import read_step
from tetrad.web.page_words import adapt_note, make_sentence
from tetrad.web.runs import read_record

POLL_SECONDS = 0.25
STATE_SECONDS, DEVICE_SECONDS, _ALIVE_SECONDS = 1.0, 5.0, 10.0
_CHUNK_BYTES = 256_000  # of a log in one event

Look = Callable[[], Any]


@dataclass
class Tail:
    """A log that is read on from `position`; it begins anew where the file is another one, or is shorter."""

    path: Path
    position: int = 0
    identity: int = 0

    def read_lines(self) -> tuple[list[bytes], bool]:
        """The whole lines that have come, and whether the log has begun anew."""
        try:
            file = open_regular(self.path)
        except OSError:
            return [], False
        with file:
            state = os.fstat(file.fileno())
            is_new = bool(self.identity) and (state.st_ino != self.identity or state.st_size < self.position)
            self.identity = state.st_ino
            if is_new:
                self.position = 0
            file.seek(self.position)
            content = file.read(_CHUNK_BYTES)
            while len(content) == _CHUNK_BYTES and b"\n" not in content:  # no line of ours is that long: it is skipped
                self.position += _CHUNK_BYTES
                content = file.read(_CHUNK_BYTES)
        whole, separator, _rest = content.rpartition(b"\n")
        self.position += len(whole) + len(separator)
        return whole.split(b"\n") if separator else [], is_new


@dataclass
class WatchedRun:
    """A run that a tab shows, with the positions up to which the tab knows its logs."""

    name: str
    folder: Path
    events: Tail = field(init=False)
    metrics: Tail = field(init=False)

    def __post_init__(self) -> None:
        self.events, self.metrics = Tail(self.folder / "events.jsonl"), Tail(self.folder / "metrics.jsonl")

    @property
    def mark(self) -> str:
        tails = (self.events, self.metrics)
        return ".".join(str(number) for tail in tails for number in (tail.position, tail.identity))

    def go_to(self, mark: str) -> None:
        """Go on at the positions of an event's id; anything else is the beginning."""
        numbers = [int(part) for part in mark.split(".") if part.isascii() and part.isdigit()]
        if len(numbers) == 4:
            self.events.position, self.events.identity, self.metrics.position, self.metrics.identity = numbers

    def read_news(self) -> dict[str, Any] | None:
        """What has come since the last call; None for nothing."""
        records, events_anew = self.events.read_lines()
        steps, metrics_anew = self.metrics.read_lines()
        if not (records or steps or metrics_anew or events_anew):
            return None
        read = [step.as_list() for step in map(read_step, steps) if step is not None]
        return {
            "run": self.name,
            "events": [each for each in map(present_event, records) if each],
            "steps": read,
            "anew": metrics_anew or events_anew,
        }


def present_event(line: bytes | dict[str, Any]) -> dict[str, Any] | None:
    """A record of events.jsonl in words; None for one that a person would not ask for."""
    record = line if isinstance(line, dict) else read_record(line.decode("utf-8", "replace"))
    adapted = adapt_note(record)
    happening = describe_record(adapted) if adapted else None
    if adapted is None or happening is None:
        return None
    return {
        "event": str(record.get("event")),
        "clock": format_clock(happening.time),
        "word": happening.word,
        "tone": happening.tone,
        "text": make_sentence(happening.text, adapted),
        "code": happening.code,
    }


def parse_marks(text: str, runs: Sequence[WatchedRun]) -> None:
    """Set each run to its part of an event's id, which lists them in the order in which the tab named them."""
    for run, mark in zip(runs, text.split("_"), strict=False):
        run.go_to(mark)


async def stream(
    request: Request, runs: Sequence[WatchedRun], looks: dict[str, tuple[float, Look]], is_stopping: Callable[[], bool]
) -> AsyncIterator[str]:
    """Server-sent events until the browser is gone: `log` of the runs, and each of `looks` when its value changes.

    A look is called in a thread every so many seconds.
    """
    shown: dict[str, str] = {}
    due = dict.fromkeys(looks, 0.0)
    last_sign = time.monotonic()
    yield "retry: 1000\n\n"
    while not is_stopping() and not await request.is_disconnected():
        for run in runs:
            while (news := run.read_news()) is not None:
                yield pack("log", news, "_".join(each.mark for each in runs))
                last_sign = time.monotonic()
        for name, (seconds, look) in looks.items():
            if time.monotonic() < due[name]:
                continue
            text = json.dumps(await to_thread.run_sync(look), ensure_ascii=False)
            due[name] = time.monotonic() + seconds
            if shown.get(name) != text:
                shown[name] = text
                yield f"event: {name.partition(' ')[0]}\ndata: {text}\n\n"
                last_sign = time.monotonic()
        if time.monotonic() - last_sign > _ALIVE_SECONDS:
            yield ": alive\n\n"
            last_sign = time.monotonic()
        await asyncio.sleep(POLL_SECONDS)


def pack(event: str, value: Any, mark: str) -> str:
    """One event of the stream."""
    return f"id: {mark}\nevent: {event}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n"
