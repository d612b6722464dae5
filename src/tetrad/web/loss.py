"""The metrics of a run, reduced to what a plot can show: constant memory and a small answer for any number of steps."""

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tetrad.documents import open_regular, parse_json

MAX_BUCKETS = 1000  # each gives two points, its least and its greatest loss
_CHUNK_BYTES = 1 << 20
# The fields of a line of metrics.jsonl as this program writes it.
_LINE = re.compile(
    rb'"time": ([\d.]+), "event": "trained", "step": (\d+), "steps": \d+, "loss": ([^,]+), '
    rb'"grad_norm": [^,]+, "learning_rate": ([^,]+), "learning_rates": \{([^}]*)\}'
)
_RATE = re.compile(rb'"([^"]+)": ([^,}\s]+)')


@dataclass(slots=True)
class Bucket:
    """Neighbouring steps: the first and the last, the extremes and the sum of their losses."""

    first: int
    last: int
    low: float
    high: float
    total: float
    count: int
    falls: bool  # whether the greatest loss comes before the least
    line: bytes  # of the last step, for its learning rates

    def add(self, step: int, loss: float, line: bytes) -> None:
        if loss < self.low:
            self.low, self.falls = loss, True
        elif loss > self.high:
            self.high, self.falls = loss, False
        self.last, self.total, self.count, self.line = step, self.total + loss, self.count + 1, line

    def merge(self, other: "Bucket") -> None:
        """Take up the steps of the next bucket."""
        falls = self.falls if self.low <= other.low and self.high >= other.high else other.falls
        if self.low <= other.low and self.high < other.high:
            falls = False
        elif self.low > other.low and self.high >= other.high:
            falls = True
        self.low, self.high, self.falls = min(self.low, other.low), max(self.high, other.high), falls
        self.last, self.total, self.count, self.line = (
            other.last,
            self.total + other.total,
            self.count + other.count,
            other.line,
        )


@dataclass
class LossSeries:
    """The losses and learning rates of metrics.jsonl, read up to `position`; `update` reads what has come since.

    Where there are more than MAX_BUCKETS steps, neighbours are merged, again and again: a peak is never lost.
    """

    path: Path
    position: int = 0
    identity: int = 0  # the inode: a resumed run writes its metrics anew
    buckets: list[Bucket] = field(default_factory=list)
    span: int = 1  # steps in a bucket

    def update(self) -> None:
        try:
            file = open_regular(self.path)
        except OSError:
            self._restart(0)
            return
        with file:
            state = os.fstat(file.fileno())
            if state.st_ino != self.identity or state.st_size < self.position:
                self._restart(state.st_ino)
            file.seek(self.position)
            rest = b""
            while chunk := file.read(_CHUNK_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self.add(line)
                self.position = file.tell() - len(rest)

    def add(self, line: bytes) -> None:
        """Take up a line; one that is no finished step, or has no finite loss, is left out."""
        step, loss = read_loss(line)
        if not math.isfinite(loss):
            return
        if self.buckets and self.buckets[-1].count < self.span:
            self.buckets[-1].add(step, loss, line)
            return
        self.buckets.append(Bucket(step, step, loss, loss, loss, 1, False, line))
        if len(self.buckets) > MAX_BUCKETS:
            for one, two in zip(self.buckets[::2], self.buckets[1::2], strict=False):
                one.merge(two)
            del self.buckets[1::2]
            self.span *= 2

    def as_record(self) -> dict[str, Any]:
        """The buckets as lists, rounded to what a plot shows; `position` is where live data goes on."""
        last_steps = [read_step(bucket.line) for bucket in self.buckets]
        rates = [step.rates if step else {} for step in last_steps]
        return {
            "position": self.position,
            "identity": self.identity,
            "first": [bucket.first for bucket in self.buckets],
            "last": [bucket.last for bucket in self.buckets],
            "low": [shorten(bucket.low) for bucket in self.buckets],
            "high": [shorten(bucket.high) for bucket in self.buckets],
            "mean": [shorten(bucket.total / bucket.count) for bucket in self.buckets],
            "falls": "".join("1" if bucket.falls else "0" for bucket in self.buckets),
            "rates": {
                part: [shorten(each.get(part, 0.0), 3) for each in rates] for part in (rates[-1] if rates else ())
            },
        }

    def _restart(self, identity: int) -> None:
        self.position, self.identity, self.buckets, self.span = 0, identity, [], 1


@dataclass(frozen=True)
class StepRecord:
    """One finished step of metrics.jsonl."""

    time: float
    step: int
    loss: float
    rates: Mapping[str, float]

    def as_list(self) -> list[Any]:
        return [self.step, shorten(self.loss), {part: shorten(rate, 3) for part, rate in self.rates.items()}]


def read_loss(line: bytes) -> tuple[int, float]:
    """The step and the loss of a line of metrics.jsonl, NaN for any other line.

    A line as this program writes it is cut at its commas, ten times as fast as it could be parsed: a run may have a
    million.
    """
    parts = line.split(b", ", 5)
    try:
        if parts[2][:8] == b'"step": ' and parts[4][:8] == b'"loss": ':
            return int(parts[2][8:]), float(parts[4][8:])
    except (IndexError, ValueError):
        pass
    step = read_step(line)
    return (step.step, step.loss) if step else (0, math.nan)


def read_step(line: bytes) -> "StepRecord | None":
    """The step in a line of metrics.jsonl; None for any other line."""
    if match := _LINE.search(line):
        try:
            rates = {name.decode(): float(rate) for name, rate in _RATE.findall(match[5])}
            loss = float(match[3]) if match[3] != b"null" else math.nan
            return StepRecord(float(match[1]), int(match[2]), loss, rates or {"": float(match[4])})
        except ValueError:
            return None
    try:
        record = parse_json(line.decode("utf-8", "replace"))
        rates = {str(name): float(rate) for name, rate in (record.get("learning_rates") or {}).items()}
        loss = record.get("loss")
        return StepRecord(
            float(record.get("time", 0)),
            int(record["step"]),
            math.nan if loss is None else float(loss),
            rates or {"": float(record["learning_rate"])},
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None


def read_last_steps(path: Path, size: int = 65_536) -> Iterator[StepRecord]:
    """The steps near the end of a metrics.jsonl, the oldest first."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            lines = file.read().split(b"\n")
    except OSError:
        return
    for line in lines:
        if (step := read_step(line)) is not None:
            yield step


def shorten(value: float, digits: int = 4) -> float | None:
    """A number with as many digits as a plot shows; None for one that JSON does not have."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
