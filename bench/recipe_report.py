"""The results of `bench.training_recipes`, as a table of means with paired standard errors, and as curves."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.recipe_rows import DEFAULT, ROWS

# Each score of a result with its heading, its number of decimals, and whether a higher value is better.
_SCORES = {
    "held_out_loss": ("held-out loss", 4, False),
    "likeness": ("likeness", 2, True),
    "margin": ("margin", 3, True),
    "obedience": ("obedience", 2, True),
    "leak": ("leak", 2, False),
    "drift": ("drift", 3, False),
}
_ALL_TASKS = "all tasks"
_WORSE_ON_A_TASK, _WORSE_ON_ALL = 3.0, 2.0  # standard errors; on a task 8 seeds and 6 scores give many chances
_PANEL_WIDTH, _PANEL_HEIGHT, _PANEL_GAP, _TOP, _LEFT = 360, 260, 70, 40, 70  # pixels
_LINE = 20
_COLOURS = ("#000000", "#999999", "#b03a2e", "#3b6ea5", "#3d8b4f", "#c77f1a", "#7a4f9e")


@dataclass(frozen=True)
class Result:
    """What was measured of a run: the curves by step, and of the result's images likeness, margin, obedience, leak."""

    row: str
    task: str
    seed: int
    held_out_losses: Mapping[str, float]  # by step, 0 being the base model
    drifts: Mapping[str, float]
    likeness: float
    margin: float
    obedience: float
    leak: float

    def score(self, name: str) -> float:
        """A score of the trained file; of a curve its end."""
        curve = {"held_out_loss": self.held_out_losses, "drift": self.drifts}.get(name)
        return float(getattr(self, name)) if curve is None else curve[max(curve, key=int)]


@dataclass(frozen=True)
class Difference:
    """A score's mean over several runs, and how far it is from that of the default with the same task and seed."""

    mean: float
    difference: float
    error: float  # the standard error of the difference; NaN for fewer than two pairs

    @classmethod
    def of(cls, name: str, runs: Sequence[Result], defaults: Mapping[tuple[str, int], Result]) -> "Difference":
        values = np.array([run.score(name) for run in runs])
        changes = values - [defaults[run.task, run.seed].score(name) for run in runs]
        error = float(changes.std(ddof=1)) / math.sqrt(len(runs)) if len(runs) > 1 else math.nan
        return cls(float(values.mean()), float(changes.mean()), error)


def read_results(folder: Path) -> list[Result]:
    """All results that are kept, without order."""
    lines = [line for path in sorted(folder.glob("seed*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    return [Result(**json.loads(line)) for line in lines]


def append_result(result: Result, folder: Path) -> None:
    """Add a line to the file of the seed, so that processes with different seeds write different files."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"seed{result.seed}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def make_table(results: Sequence[Result]) -> Iterator[str]:
    """The lines of the table in Markdown: for each task, and for all, a line for each recipe."""
    defaults = {(run.task, run.seed): run for run in results if run.row == DEFAULT.name}
    paired = [run for run in results if (run.task, run.seed) in defaults]
    for task, runs in _group_by_task(paired).items():
        yield from (f"**{task}**", "", f"| recipe | runs | {' | '.join(title for title, *_ in _SCORES.values())} |")
        yield "| --- " * (2 + len(_SCORES)) + "|"
        for row in ROWS:
            if own := [run for run in runs if run.row == row.name]:
                cells = [_format_cell(name, own, defaults) for name in _SCORES]
                yield f"| {row.title} | {len(own)} | {' | '.join(cells)} |"
        yield ""
    for row in ROWS:
        own = [run for run in paired if run.row == row.name]
        if row != DEFAULT and own and all(len(runs) > 1 for runs in _group_by_task(own).values()):
            yield f"- {row.title}: {', '.join(find_worse(own, defaults)) or 'nothing'} worse than the default"


def _group_by_task(runs: Iterable[Result]) -> dict[str, list[Result]]:
    """The runs of each task, and those of all."""
    groups: dict[str, list[Result]] = {}
    for run in runs:
        for name in (run.task, _ALL_TASKS):
            groups.setdefault(name, []).append(run)
    everything = groups.pop(_ALL_TASKS, [])
    return groups | {_ALL_TASKS: everything}


def _format_cell(name: str, runs: Sequence[Result], defaults: Mapping[tuple[str, int], Result]) -> str:
    found, decimals = Difference.of(name, runs, defaults), _SCORES[name][1]
    if runs[0].row == DEFAULT.name:
        return f"{found.mean:.{decimals}f}"
    return f"{found.mean:.{decimals}f} ({found.difference:+.{decimals}f} ± {found.error:.{decimals}f})"


def find_worse(runs: Sequence[Result], defaults: Mapping[tuple[str, int], Result]) -> Iterator[str]:
    """A row's scores that are worse than the default's: by 3 standard errors on a task, by 2 on all."""
    for task, own in _group_by_task(runs).items():
        limit = _WORSE_ON_ALL if task == _ALL_TASKS else _WORSE_ON_A_TASK
        for name, (title, _decimals, higher_is_better) in _SCORES.items():
            found = Difference.of(name, own, defaults)
            loss = -found.difference if higher_is_better else found.difference
            if loss > limit * found.error:
                yield f"{title} ({task})"


def draw_curves(results: Sequence[Result]) -> Image.Image:
    """A panel for each task: the held-out loss by step, the mean of all seeds, with a line for each row."""
    groups = {task: runs for task, runs in _group_by_task(results).items() if task != _ALL_TASKS}
    width = _LEFT + len(groups) * (_PANEL_WIDTH + _PANEL_GAP)
    image = Image.new("RGB", (width, _TOP + _PANEL_HEIGHT + 40 + _LINE * len(ROWS)), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for number, (task, runs) in enumerate(groups.items()):
        _draw_panel(draw, font, _LEFT + number * (_PANEL_WIDTH + _PANEL_GAP), task, runs)
    for number, (row, colour) in enumerate(zip(ROWS, _COLOURS, strict=True)):
        y = _TOP + _PANEL_HEIGHT + 40 + _LINE * number
        draw.line((_LEFT, y, _LEFT + 30, y), colour, 3)
        draw.text((_LEFT + 40, y), row.title, "black", font, "lm")
    return image


def _draw_panel(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    left: int,
    task: str,
    runs: list[Result],
) -> None:
    curves = {row.name: _average_curve(runs, row.name) for row in ROWS}
    losses = [loss for curve in curves.values() for step, loss in curve.items() if step]
    low, high = 0.98 * min(losses), 1.02 * max(losses)  # the base model's loss is far above
    last = max(step for curve in curves.values() for step in curve)
    bottom = _TOP + _PANEL_HEIGHT
    draw.text((left, _TOP - 12), f"{task}: held-out loss", "black", font, "lm")
    draw.rectangle((left, _TOP, left + _PANEL_WIDTH, bottom), outline="#bbbbbb")
    for value, height in ((high, _TOP), (low, bottom)):
        draw.text((left - 6, height), f"{value:.3f}", "black", font, "rm")
    for step in sorted({step for curve in curves.values() for step in curve if step}):
        draw.text((left + _PANEL_WIDTH * step / last, bottom + 12), str(step), "black", font, "mm")
    for curve, colour in zip(curves.values(), _COLOURS, strict=True):
        points = [
            (left + _PANEL_WIDTH * step / last, bottom - _PANEL_HEIGHT * (loss - low) / (high - low))
            for step, loss in curve.items()
            if step
        ]
        draw.line(points, colour, 2)
        for x, y in points:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), colour)


def _average_curve(runs: Sequence[Result], row: str) -> dict[int, float]:
    """The mean held-out loss of all seeds by step."""
    own = [run.held_out_losses for run in runs if run.row == row]
    return {int(step): float(np.mean([losses[step] for losses in own])) for step in (own[0] if own else ())}
