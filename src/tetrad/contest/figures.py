"""What was measured of a run and its newest file: read from the run's folder, for the terminal, the sheet and the page.

Nothing here needs torch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tetrad.documents import read_stored_values
from tetrad.judging.scores import SCORES, Score, format_score, read_scores
from tetrad.locales import Message, _, ngettext
from tetrad.methods import METHODS
from tetrad.run.checkpoints import list_checkpoints
from tetrad.run.status import read_log, read_status
from tetrad.run.words import read_number
from tetrad.sizes import format_memory, format_size

TITLES: Mapping[str, str] = {
    "lora": _("LoRA"),
    "dreambooth": _("DreamBooth"),
    "textual-inversion": _("Textual Inversion"),
    "hypernetwork": _("Hypernetwork"),
}
# The scores that methods are compared by, the most important first.
COMPARED = ("likeness", "obedience", "kept", "leak", "copying")


@dataclass(frozen=True)
class Result:
    """A method with its run; 0 and empty for what is not known."""

    method: str
    run: Path
    file: Path | None = None
    step: int = 0
    steps: int = 0
    views: float = 0.0  # of each image
    seconds: float = 0.0  # that its processes have worked, loading included
    memory: int = 0  # bytes, at most
    size: int = 0  # bytes of the file
    scores: Mapping[str, Score] = field(default_factory=dict)  # of the file at full strength

    @property
    def title(self) -> Message:
        return title_of(self.method)


def title_of(method: str) -> Message:
    """What a method is called."""
    return Message(TITLES[method] if method in TITLES else METHODS[method].artifact.noun)


def read_result(run: Path) -> Result:
    """The figures of the run in a folder.  E5162 where there is none."""
    plan = read_stored_values(run / "plan.toml")
    status = read_status(run, plan)
    checkpoints = list_checkpoints(run)
    file = checkpoints[-1].path if checkpoints else None
    return Result(
        status.method,
        run,
        file,
        status.step,
        status.steps,
        count_views(plan, status.step),
        measure_time(run),
        measure_memory(run),
        measure_size(file) if file else 0,
        find_scores(run, file.name) if file else {},
    )


def find_scores(run: Path, file: str) -> dict[str, Score]:
    """The scores that a file of a run has at full strength."""
    rows = [row for row in read_scores(run)[0] if row.file == file and row.strength == 1]
    return {name: score for row in rows for name, score in row.scores.items()}


def describe_figures(result: Result) -> dict[str, str]:
    """The figures by the name of `name_figure`, as people read them; what is not known is left out."""
    values = {name: format_score(name, result.scores[name]) for name in COMPARED if name in result.scores}
    if result.size:
        values["size"] = format_size(result.size)
    if result.seconds:
        values["seconds"] = format_duration(result.seconds)
    if result.memory:
        values["memory"] = format_memory(result.memory)
    if result.step:
        values["steps"] = describe_steps(result.step, result.steps)
    if result.views:
        values["views"] = f"{result.views:.0f}"
    return values


MEASURED: Mapping[str, str] = {
    "size": _("File size"),
    "seconds": _("Training time"),
    "memory": _("Memory, at most"),
    "steps": _("Steps"),
    "views": _("Views per image"),
}


def list_figures(results: Sequence[Result]) -> list[str]:
    """The names of the figures that any of the results has, in a fixed order: scores first."""
    found = {name for result in results for name in describe_figures(result)}
    return [name for name in (*COMPARED, *MEASURED) if name in found]


def name_figure(name: str, show: Callable[[Message], str] = str) -> str:
    """What a figure or a score is called at the head of a row."""
    title = show(Message(SCORES[name].title if name in SCORES else MEASURED[name]))
    return title[:1].upper() + title[1:]


def describe_steps(step: int, steps: int) -> str:
    """`400`, or `30 of 100` where not all of them are done."""
    done = Message(_("{step:,} of {steps:,}"), step=step, steps=steps)
    return f"{steps:,}" if 0 < steps <= step else str(done)


def format_duration(seconds: float) -> str:
    """`14 s`, `5 min`, `2 h 5 min`: as precise as it is needed to wait for something."""
    total = max(0, round(seconds))
    if total < 60:
        return str(Message(_("{seconds} s"), seconds=total))
    minutes = round(total / 60)
    if minutes < 60:
        return str(Message(_("{minutes} min"), minutes=minutes))
    if minutes < 48 * 60:
        return str(Message(_("{hours} h {minutes} min"), hours=minutes // 60, minutes=minutes % 60))
    return str(Message(ngettext("{count} day", "{count} days", round(minutes / 1440))))


def count_views(plan: Mapping[str, Any], step: int) -> float:
    """How often each image was seen until a step; 0 where the plan does not say."""
    train = plan.get("train")
    values = train if isinstance(train, Mapping) else {}
    per_epoch, images = read_number(values, "steps_per_epoch"), read_number(values, "images")
    repeats = read_number(values, "repeats") / max(1.0, images)
    return step / per_epoch * repeats if per_epoch > 0 else 0.0


def measure_time(run: Path) -> float:
    """The seconds that the processes of a run have worked, previews and loading included; 0 where it is not known."""
    return sum(end - start for start, end in _list_spans(run / "events.jsonl"))


def _list_spans(events: Path) -> Iterator[tuple[float, float]]:
    """The first and the last sign of each process that worked on a run."""
    start = last = 0.0
    for record in read_log(events) if events.is_file() else ():
        time = read_number(record, "time")
        if record.get("event") == "started":
            yield start, last
            start = time
        start = start or time
        last = max(start, time)
    yield start, last


def measure_memory(run: Path) -> int:
    """The most bytes that the process which finished a run has held; 0 where it was not measured."""
    events = run / "events.jsonl"
    records = read_log(events) if events.is_file() else ()
    peaks = [int(read_number(each, "peak_memory")) for each in records if each.get("event") == "finished"]
    return peaks[-1] if peaks else 0


def measure_size(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    paths = path.rglob("*") if path.is_dir() else (path,)
    return sum(each.stat().st_size for each in paths if each.is_file())
