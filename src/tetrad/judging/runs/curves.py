"""The losses of a run as a plot in SVG: the smoothed training loss, and the losses that the judge measured."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from tetrad.judging.scores import SCORES, CheckpointScores
from tetrad.locales import Message, _
from tetrad.run import read_log

_WIDTH, _HEIGHT = 720, 260  # of the drawing; the page scales it
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 28
_MAX_POINTS = 300
_SMOOTHING = 0.98  # of the exponential average over steps
_MEASURED = ("training_loss", "held_out_loss")
Points = Sequence[tuple[float, float]]  # steps and losses


def draw_losses(run: Path, rows: Sequence[CheckpointScores]) -> str:
    """The plot as inline SVG with a legend; "" for a run without losses."""
    lines: dict[str, Points] = {}
    if loss := read_smoothed_loss(run / "metrics.jsonl"):
        lines[str(Message(_("training loss, smoothed")))] = loss
    for name in _MEASURED:
        points = sorted((row.step, row.scores[name].value) for row in rows if name in row.scores and row.strength == 1)
        if len(points) > 1:
            lines[str(Message(_("{score}, as judged"), score=Message(SCORES[name].title)))] = points
    return _draw(lines) if lines else ""


def read_smoothed_loss(path: Path) -> Points:
    """The training loss as an exponential average, at up to _MAX_POINTS steps."""
    points, weighted, weight = [], 0.0, 0.0
    for record in read_log(path) if path.is_file() else ():
        step, loss = record.get("step"), record.get("loss")
        if isinstance(step, int) and isinstance(loss, int | float) and math.isfinite(loss):
            weighted, weight = _SMOOTHING * weighted + (1 - _SMOOTHING) * loss, _SMOOTHING * weight + 1 - _SMOOTHING
            points.append((float(step), weighted / weight))
    every = -(-len(points) // _MAX_POINTS) or 1
    return points[::every]


def _draw(lines: Mapping[str, Points]) -> str:
    """Lines in one plot with its axes and a legend."""
    steps = [step for points in lines.values() for step, _loss in points]
    losses = [loss for points in lines.values() for _step, loss in points]
    last, low, high = max(steps), min(losses), max(losses)
    room = (high - low or abs(high) or 1.0) * 0.08
    low, high = low - room, high + room

    def place(step: float, loss: float) -> tuple[float, float]:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / (last or 1)
        return x, _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - loss) / (high - low)

    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = place(last * share, low + (high - low) * share)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{low + (high - low) * share:.3g}</text>'
            f'<text x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="{_anchor(share)}">{last * share:,.0f}</text>'
        )
    for number, points in enumerate(lines.values()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        parts.append(f'<polyline class="line-{number}" points="{path}"/>')
        if len(points) <= 40:
            circles = (place(*point) for point in points)
            parts += [f'<circle class="dot-{number}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in circles]
    legend = "".join(f'<li><span class="key-{n}"></span>{escape(name)}</li>' for n, name in enumerate(lines))
    title = escape(str(Message(_("losses by step"))))
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
    return f'{svg}<ul class="legend">{legend}</ul>'


def _anchor(share: float) -> str:
    """How a label below the plot is aligned, so that the first and the last stay inside."""
    return "start" if share == 0 else "end" if share == 1 else "middle"
