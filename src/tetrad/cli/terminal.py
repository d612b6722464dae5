"""Prints for people: a training run's events (progress bar, plain lines or JSON), notes, warnings and progress."""

import itertools
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any

from tetrad.cli.streams import drop_lost_streams
from tetrad.cli.training_speed import TrainingSpeed, format_clock
from tetrad.event_file import ProgressRecord, record_note, record_result
from tetrad.locales import Message, _, ngettext, presentable

if TYPE_CHECKING:
    from tetrad.run.events import Event, Finished, Judged

# JSON escapes only what comes before the space: these are DEL, C1 controls, line separators, surrogates and changes of
# the direction of text.
UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
LINE_INTERVAL_SECONDS = 10.0  # between two progress lines where stderr is not a terminal


def print_text(value: object) -> None:
    """Print a path or another result on stdout, on one line: what a file's name does to a terminal is escaped."""
    record_result(value)
    print(value if isinstance(value, Message) else presentable(value), flush=True)


def print_json(record: Any) -> None:
    """Print a JSON object on one line of stdout; letters that a terminal obeys or cannot show are escaped."""
    text = json.dumps(_without_infinities(record), ensure_ascii=False, allow_nan=False)
    print(UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text), flush=True)


def _without_infinities(value: Any) -> Any:
    """A record with null in the place of NaN and Inf, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _without_infinities(each) for name, each in value.items()}
    return [_without_infinities(each) for each in value] if isinstance(value, list | tuple) else value


def print_note(template: str | Message, **values: Any) -> None:
    """Print a sentence on stderr."""
    message = template if isinstance(template, Message) else Message(template, **values)
    record_note(message)
    print(message, file=sys.stderr)


def announce_loading() -> None:
    """Print on stderr that PyTorch is being loaded, which takes seconds; called after all that needs no torch."""
    if "torch" not in sys.modules:
        print(Message(_("loading PyTorch…")), file=sys.stderr, flush=True)


def announce_late_loading() -> None:
    """As `announce_loading`, for a command that may need no torch: it is said when torch is imported."""
    if "torch" not in sys.modules:
        sys.meta_path.insert(0, _LoadingNote())


class _LoadingNote(MetaPathFinder):
    """Is asked for every module before Python's own finders; it finds none, and says that PyTorch is being loaded."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "torch":
            sys.meta_path.remove(self)
            announce_loading()


def print_warning(code: str, template: str | Message, **values: Any) -> None:
    """Print a sentence with its code on stderr."""
    message = template if isinstance(template, Message) else Message(template, **values)
    record_note(message, code)
    print(code, message, file=sys.stderr)


def print_progress(template: str, **values: Any) -> None:
    """Replace the progress line of a terminal; an empty template clears it."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{Message(template, **values)}", end="", file=sys.stderr, flush=True)


def choose_display() -> "ProgressBar | PlainLines":
    """What shows events on stderr, to be called with each of them."""
    return ProgressBar() if sys.stderr.isatty() else PlainLines()


@contextmanager
def show_progress(title: Message, total: int) -> Iterator[Callable[[], None]]:
    """Show the progress of work that is no run: the function it gives is to be called after each of `total` units."""
    from tetrad.run.events import Phase, Progress

    display = choose_display()
    record, numbers = ProgressRecord(title, total), itertools.count(1)
    display(Phase(title, total))

    def advance() -> None:
        done = next(numbers)
        display(Progress(done))
        record.show(done)

    try:
        yield advance
    finally:
        display.close()


def show_events(events: "Iterable[Event]", as_json: bool, shows_next_steps: bool = True) -> "Finished | None":
    """Show the events as they come; returns the last, or None where the run ended before it trained anything.

    Where they cannot be shown any more, because nothing reads them or the disk is full, the run goes on in silence.
    """
    from tetrad.run.events import Finished

    display = JsonLines() if as_json else choose_display()
    finished = None
    try:
        for event in events if as_json else drop_saved_result(events):
            try:
                display(event)
            except OSError as error:
                if not drop_lost_streams(error):
                    raise
                with suppress(OSError):
                    print_note(_("the output cannot be written any more; the run goes on, and its folder has the log"))
            if isinstance(event, Finished):
                finished = event
    finally:
        display.close()
    if finished and not as_json:
        print_note(describe_end(finished))
        print_text(finished.path)
        from tetrad.cli.next_steps import describe_next_steps  # imports all settings

        for message in describe_next_steps(finished) if shows_next_steps else ():
            print_note(message)
    return finished


def describe_end(finished: "Finished") -> Message:
    """How the run ended, after how many steps and how long."""
    steps = finished.steps
    if not finished.has_effect:
        template = ngettext(
            "ended after {count} step in {duration}, and the result changes nothing (W3174)",
            "ended after {count} steps in {duration}, and the result changes nothing (W3174)",
            steps,
        )
    elif finished.complete:
        template = ngettext("done after {count} step in {duration}", "done after {count} steps in {duration}", steps)
    else:
        template = ngettext(
            "stopped after {count} step in {duration}", "stopped after {count} steps in {duration}", steps
        )
    return Message(template, duration=format_clock(finished.seconds))


def drop_saved_result(events: "Iterable[Event]") -> "Iterator[Event]":
    """The events without that of saving the result, whose path is printed after them."""
    from tetrad.run.events import Finished, Judged, Note, Phase, Progress, Saved, Scored

    held: list[Event] = []  # what was saved since the last step, and notes about it
    try:
        for event in events:
            if isinstance(event, Saved) or (held and isinstance(event, Note | Judged)):
                held.append(event)
                continue
            if isinstance(event, Phase | Progress | Scored):  # the result may be scored before the run ends
                yield event
                continue
            result = event.path if isinstance(event, Finished) else None
            yield from (each for each in held if not (isinstance(each, Saved) and each.path == result))
            held = []
            yield event
    except Exception:
        yield from held
        raise


class JsonLines:
    """Every event as a JSON object on stdout, the same as in events.jsonl and metrics.jsonl."""

    def __call__(self, event: "Event") -> None:
        from tetrad.run.events import as_record

        print_json(as_record(event))

    def close(self) -> None: ...


class PlainLines:
    """Plain lines on stderr: phases and notes at once, steps and other progress every ten seconds."""

    def __init__(self) -> None:
        self.last_line_time = 0.0
        self.speed = TrainingSpeed()
        self.phase = ("", 0)

    def __call__(self, event: "Event") -> None:
        from tetrad.run.events import Phase, Progress, Trained

        text, is_visible = format_event(event), True
        if isinstance(event, Phase):
            self.speed.restart()
            self.phase = (str(event.name), event.total)
            self.last_line_time = time.monotonic()
        elif isinstance(event, Trained):
            step = Message(_("step {step}/{steps}"), step=event.step, steps=event.steps)
            text = f"{step}  {self.speed.format_step(event)}"
            is_visible = event.step in (1, event.steps) or self.is_due()
        elif isinstance(event, Progress):
            text = f"{self.phase[0]} {event.done}/{self.phase[1]}"
            is_visible = self.is_due()
        if text and is_visible:
            print(text, file=sys.stderr, flush=True)

    def is_due(self) -> bool:
        """Whether the next progress line is due; if so, the interval starts again."""
        is_due = time.monotonic() - self.last_line_time >= LINE_INTERVAL_SECONDS
        if is_due:
            self.last_line_time = time.monotonic()
        return is_due

    def close(self) -> None: ...


class ProgressBar:
    """One live line: phase, step, loss, steps per second, time left; notes scroll above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self.progress = Progress(*columns, console=Console(stderr=True))
        self.progress.start()
        self.task = self.progress.add_task("", text="", total=None)
        self.speed = TrainingSpeed()

    def __call__(self, event: "Event") -> None:
        from tetrad.run.events import Phase, Progress, Trained

        if isinstance(event, Phase):
            self.speed.restart()
            self.progress.reset(self.task, description=str(event.name), total=event.total or None, text="")
        elif isinstance(event, Trained):
            self.progress.update(self.task, completed=event.step, text=self.speed.format_step(event))
        elif isinstance(event, Progress):
            self.progress.update(self.task, completed=event.done)
        elif text := format_event(event):
            self.progress.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        self.progress.stop()


def format_event(event: "Event") -> str:
    """A phase, a note, a saved file, scores or a verdict as text; empty for any other event."""
    from tetrad.run.events import Judged, Note, Phase, Saved, Scored
    from tetrad.run.words import describe_scores

    if isinstance(event, Note):
        return f"{event.code} {event.message}".strip()
    if isinstance(event, Phase):
        return str(event.name)
    if isinstance(event, Saved):
        return str(Message(_("saved and checked: {path}"), path=event.path))
    if isinstance(event, Scored):
        return describe_scores(event.step, event.images, event.scores, event.base)
    if isinstance(event, Judged):
        return "\n".join(map(str, describe_verdict(event)))
    return ""


def describe_verdict(event: "Judged") -> Iterator[Message]:
    """The verdict on a run, line by line."""
    yield Message(_("verdict: {verdict}"), verdict=event.verdict)
    for reason in event.reasons:
        yield Message(_("  because: {reason}"), reason=reason)
    if event.best:
        yield Message(_("  the file to use: {file}"), file=event.best)
    if event.change:
        yield Message(_("  next time: {change}"), change=event.change)
    for reason in event.unknown:
        yield Message(_("  not known: {reason}"), reason=reason)
