"""What a person sees of a run: a live bar in a terminal, a line now and then elsewhere, JSON for programs."""

import json
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tetrad.training.events import Event, Finished

LINE_EVERY = 10.0  # seconds between lines where there is no terminal


def watched(events: "Iterable[Event]", as_json: bool) -> "Finished | None":
    """Show the events as they come; the last word of the run, None where it ended before learning anything."""
    from tetrad.training.events import Finished

    show = JsonLines() if as_json else Bar() if sys.stderr.isatty() else Lines()
    finished = None
    try:
        for event in events:
            show(event)
            if isinstance(event, Finished):
                finished = event
    finally:
        show.close()
    if finished and not as_json:
        word = "done" if finished.complete else "stopped"
        print(f"{word} after {finished.steps} steps in {duration(finished.seconds)}", file=sys.stderr)
        print(finished.path)
    return finished


class JsonLines:
    """Every event as one object on stdout, the same as in events.jsonl and metrics.jsonl."""

    def __call__(self, event: "Event") -> None:
        from tetrad.training.events import as_record

        print(json.dumps(as_record(event), ensure_ascii=False), flush=True)

    def close(self) -> None: ...


class Lines:
    """Plain lines on stderr: phases and notes at once, steps and what else takes long every ten seconds."""

    def __init__(self) -> None:
        self.last = 0.0
        self.pace = Pace()
        self.phase = ("", 0)

    def __call__(self, event: "Event") -> None:
        from tetrad.training.events import Phase, Progress, Trained

        text, shown = sentence(event), True
        if isinstance(event, Phase):
            self.pace, self.phase, self.last = Pace(), (event.name, event.total), time.monotonic()
        elif isinstance(event, Trained):
            text = f"step {event.step}/{event.steps}  {self.pace.words(event)}"
            shown = event.step in (1, event.steps) or self.due()
        elif isinstance(event, Progress):
            text = f"{self.phase[0]} {event.done}/{self.phase[1]}"
            shown = self.due()
        if text and shown:
            print(text, file=sys.stderr, flush=True)

    def due(self) -> bool:
        """Whether it is time for another line."""
        late = time.monotonic() - self.last >= LINE_EVERY
        if late:
            self.last = time.monotonic()
        return late

    def close(self) -> None: ...


class Bar:
    """One live line: phase, step, loss, steps a second, time left; notes scroll by above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}"),
        )
        self.progress = Progress(*columns, console=Console(stderr=True))
        self.progress.start()
        self.task = self.progress.add_task("", words="", total=None)
        self.pace = Pace()

    def __call__(self, event: "Event") -> None:
        from tetrad.training.events import Phase, Progress, Trained

        if isinstance(event, Phase):
            self.pace = Pace()
            self.progress.reset(self.task, description=event.name, total=event.total or None, words="")
        elif isinstance(event, Trained):
            self.progress.update(self.task, completed=event.step, words=self.pace.words(event))
        elif isinstance(event, Progress):
            self.progress.update(self.task, completed=event.done)
        elif text := sentence(event):
            self.progress.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        self.progress.stop()


class Pace:
    """The loss, evened out over steps, and how fast they go."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.first = 0
        self.loss = 0.0
        self.weight = 0.0

    def words(self, event: "Event") -> str:
        """`loss 0.1234  2.1 steps/s  1:20 left`; the loss is a mean that forgets over about fifty steps."""
        from tetrad.training.events import Trained

        assert isinstance(event, Trained)
        if not self.weight:  # the first step pays for what is set up once
            self.started, self.first = time.monotonic(), event.step
        self.loss, self.weight = 0.98 * self.loss + 0.02 * event.loss, 0.98 * self.weight + 0.02
        words = f"loss {self.loss / self.weight:.4f}"
        if event.step == self.first:
            return words
        speed = (event.step - self.first) / max(1e-9, time.monotonic() - self.started)
        rate = f"{speed:.1f} steps/s" if speed >= 1 else f"{1 / speed:.1f} s/step"
        return f"{words}  {rate}  {duration((event.steps - event.step) / speed)} left"


def sentence(event: "Event") -> str:
    """An event in words, empty where it needs none."""
    from tetrad.training.events import Note, Phase, Saved

    if isinstance(event, Note):
        return f"{event.code} {event.text}".strip()
    if isinstance(event, Phase):
        return event.name
    if isinstance(event, Saved):
        return f"saved and checked: {event.path}"
    return ""


def duration(seconds: float) -> str:
    """`0:07`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
