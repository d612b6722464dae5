"""The results of a sweep, from the folders of its runs: `sweep.json`, and a sheet of their last previews."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tetrad.documents import read_stored_values, writable
from tetrad.formats.atomic_write import replace_file
from tetrad.judging.scores import CheckpointScores, read_scores
from tetrad.judging.verdict import judge_run
from tetrad.locales import Message, _
from tetrad.run.status import read_status
from tetrad.sweep.grid import Cell

FILE, SHEET = "sweep.json", "sweep.png"
_LOSSES = ("held_out_loss", "training_loss")


@dataclass(frozen=True)
class Row:
    """A run of a sweep as its folder shows it.

    `change` is that of the held-out loss since before the first step, as a share, or of the training loss where nothing
    is held out: seeds have other noise, so that only changes can be compared.
    """

    name: str
    values: Mapping[str, str]
    state: str = "waiting"  # or one of RunStatus, or "stopped early"
    step: int = 0
    steps: int = 0
    measure: str = ""
    change: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    verdict: str = ""
    file: str = ""
    error: str = ""


def read_row(folder: Path, cell: Cell, stopped_early: bool = False) -> Row:
    """A run as it is now."""
    path = folder / cell.name
    if not (path / "recipe.toml").exists():
        return Row(cell.name, cell.values, "failed" if (error := _last_line(folder, cell)) else "waiting", error=error)
    status = read_status(path)
    rows, _problems = read_scores(path)
    verdict = judge_run(rows) if rows else None
    best = verdict.best if verdict else None
    measure, change = compare_with_start(rows, best)
    is_open = status.state in ("interrupted", "failed")
    return Row(
        cell.name,
        cell.values,
        "stopped early" if stopped_early and is_open else status.state,
        status.step,
        status.steps,
        measure,
        change,
        {name: score.value for name, score in best.scores.items()} if best else {},
        verdict.word if verdict else "",
        str(path / best.file) if best and best.file else "",
        status.error,
    )


def compare_with_start(rows: Sequence[CheckpointScores], row: CheckpointScores | None) -> tuple[str, float | None]:
    """The name of the loss that is compared, and its relative change from the first row to this one.

    None without a loss at both ends, and where one of them is NaN or Inf, which no run is better than.
    """
    for name in _LOSSES:
        if row and name in row.scores and name in rows[0].scores and rows[0].scores[name].value:
            change = row.scores[name].value / rows[0].scores[name].value - 1
            return name, change if math.isfinite(change) else None
    return "", None


def read_rows(folder: Path, cells: Sequence[Cell], stopped_early: Sequence[str] = ()) -> list[Row]:
    """All runs, the best first; those without a figure are last."""
    rows = [read_row(folder, cell, cell.name in stopped_early) for cell in cells]
    return sorted(rows, key=lambda row: (row.change is None, row.change or 0.0))


def write_results(folder: Path, over: Sequence[str], rows: Sequence[Row]) -> None:
    """Write `sweep.json`, whole or not at all."""
    best = next((row for row in rows if row.change is not None), None)
    values = {"over": list(over), "best": best.name if best else "", "runs": [asdict(row) for row in rows]}
    replace_file(folder / FILE, writable(json.dumps(values, ensure_ascii=False, indent=1)).encode(), flushes=False)


def read_results(folder: Path) -> dict[str, Any]:
    """What `write_results` has written; empty where there is nothing readable."""
    return read_stored_values(folder / FILE)


def write_sheet(folder: Path, rows: Sequence[Row]) -> Path | None:
    """The last previews of each run in a row, the best run first; None where no run has any."""
    from tetrad.images import contact_sheet, png
    from tetrad.images.load import load_image

    shown = []
    for row in rows:
        found = sorted((folder / row.name / "samples").glob("step????????-[0-9][0-9].png"))
        if last := [path for path in found if path.name[:12] == found[-1].name[:12]]:
            shown.append((row, [load_image(path) for path in last]))
    if not shown:
        return None
    columns = min(len(images) for _row, images in shown)
    sample = read_stored_values(folder / shown[0][0].name / "plan.toml").get("sample", {})
    headings = [*sample.get("prompts", ()), *sample.get("overfit_prompts", ())][:columns]
    labels = [f"{row.name}  {describe_change(row)}" for row, _images in shown]
    title = str(Message(_("{name}: the best run first"), name=folder.name))
    png.save_png(
        folder / SHEET,
        contact_sheet.make_contact_sheet([images[:columns] for _row, images in shown], labels, headings, title),
        "",
    )
    return folder / SHEET


def describe_change(row: Row) -> str:
    """`-12.3 %`; "" where there is no figure."""
    return "" if row.change is None else f"{100 * row.change:+.1f} %"


def _last_line(folder: Path, cell: Cell) -> str:
    """What a run said that has ended before it had a folder."""
    try:
        lines = (folder / "logs" / f"{cell.name}.log").read_text("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line[:1] == "E" and line[1:5].isdigit()), "")
