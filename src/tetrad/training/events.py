"""What a run tells whoever watches it: small frozen events, each a line of events.jsonl."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Phase:
    """A part of the run begins; `total` units of work, 0 where that is not known."""

    name: str
    total: int = 0


@dataclass(frozen=True)
class Progress:
    """So many units of the phase are done."""

    done: int


@dataclass(frozen=True)
class Note:
    """Something a person should know; a code where it is a warning."""

    text: str
    code: str = ""


@dataclass(frozen=True)
class Trained:
    """One update; the loss of its samples."""

    step: int
    steps: int
    loss: float
    grad_norm: float
    learning_rate: float


@dataclass(frozen=True)
class Sampled:
    """A preview was drawn, or the sheet of all of them."""

    step: int
    prompt: str
    path: Path
    shows: str = ""  # what it is there to show


@dataclass(frozen=True)
class Saved:
    """A file was written, read back, and every key of it found its layer."""

    step: int
    path: Path


@dataclass(frozen=True)
class Finished:
    """The run is over; `complete` is false where it was stopped before its last step."""

    path: Path
    folder: Path
    steps: int
    seconds: float
    complete: bool


Event = Phase | Progress | Note | Trained | Sampled | Saved | Finished


def as_record(event: Event) -> dict[str, Any]:
    """The event as plain values: its name, then its fields."""
    fields = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(event).items()}
    return {"event": type(event).__name__.lower(), **fields}
