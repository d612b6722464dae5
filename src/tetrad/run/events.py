"""The events that a run yields to its caller; each is also a line of events.jsonl or metrics.jsonl."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tetrad.locales import Message, recordable


@dataclass(frozen=True)
class Started:
    """A process trains in this folder from now on; `process_started` is what `heartbeat.read_start_time` gives."""

    folder: Path
    pid: int
    process_started: float


@dataclass(frozen=True)
class Phase:
    """A part of the run begins; `total` units of work, 0 where the number is unknown."""

    name: Message
    total: int = 0


@dataclass(frozen=True)
class Progress:
    """How many units of the current phase are done."""

    done: int


@dataclass(frozen=True)
class Note:
    """Something a person should know; a warning has a code."""

    message: Message
    code: str = ""


@dataclass(frozen=True)
class Trained:
    """One finished update: its loss, its gradient norm, and the learning rate of each part that is trained.

    `time` is a Unix time; updates that are read together come later than that.
    """

    step: int
    steps: int
    loss: float
    grad_norm: float
    learning_rate: float
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    time: float = field(default_factory=lambda: round(time.time(), 3), compare=False)


@dataclass(frozen=True)
class Sampled:
    """A preview was generated, or the contact sheet of all previews."""

    step: int
    prompt: str
    path: Path
    shows: Message | None = None  # what the preview is for, like "without the trigger word"


@dataclass(frozen=True)
class Saved:
    """A file was written and read back, and every key in it matched a layer."""

    step: int
    path: Path


@dataclass(frozen=True)
class PointSaved:
    """A resume point was written: after a crash, the run continues exactly from this step."""

    step: int
    seconds: float  # what it cost


@dataclass(frozen=True)
class Controlled:
    """A command from the folder `control` was taken: stop, pause, continue, save or sample."""

    command: str
    step: int


@dataclass(frozen=True)
class Finished:
    """The run is over; `complete` is false where it was stopped before its last step.

    `has_effect` is false where the model predicts the same with the result as without it.
    """

    path: Path
    folder: Path
    steps: int
    seconds: float
    complete: bool
    peak_memory: int = 0  # bytes that the process held at most; 0: not measured
    has_effect: bool = True


@dataclass(frozen=True)
class Scored:
    """Images were generated after a step and scored: each score by its name, as scores.jsonl has it, beside that of the
    base model's images at the same prompts and seeds.
    """

    step: int
    images: int  # of the run itself
    scores: Mapping[str, Mapping[str, float | None]]
    base: Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class Judged:
    """The verdict on the run: its name for programs and for people, the file to use ("" for none), the figures behind
    it, the one setting to change, and what cannot be told.
    """

    word: str
    verdict: Message
    best: str
    reasons: tuple[Message, ...]
    change: Message | None = None
    unknown: tuple[Message, ...] = ()


Event = (
    Started | Phase | Progress | Note | Trained | Sampled | Saved | PointSaved | Controlled | Scored | Judged | Finished
)


def make_note(sentence: str | Message, code: str = "") -> Note:
    """A note of a sentence that is a message, or a text without values."""
    return Note(sentence if isinstance(sentence, Message) else Message(sentence), code)


def as_record(event: Event) -> dict[str, Any]:
    """The event as plain values: its name, then its fields; a message as its text, template and values."""
    record: dict[str, Any] = {"event": type(event).__name__.lower()}
    for name, value in vars(event).items():
        if name == "message":
            record |= value.as_record()
        else:
            record[name] = dict(value) if isinstance(value, Mapping) else recordable(value)
            if isinstance(value, float) and not math.isfinite(value):
                record[name] = None  # JSON has no NaN
    return record
