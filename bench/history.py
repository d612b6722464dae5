"""The figures of `bench.step` over time, and whether a step has become slower.

    python -m bench.history      draws bench/history.jsonl into docs/speed.png

Only ratios are compared, since machines differ in speed: a ratio to the bare loop that was measured beside it.
"""

import json
import platform
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

HISTORY = Path(__file__).with_name("history.jsonl")
PLOT = Path(__file__).parents[1] / "docs" / "speed.png"
_SLOWER = 1.05  # a ratio this many times as high as usual is worth a look
_WIDTH, _ROW, _TOP, _LEFT, _RIGHT = 900, 60, 40, 260, 790  # pixels
_LOWEST, _HIGHEST = 0.5, 1.2  # the ratios at the edges of a row
_COLOURS = {"fp32_ratio": "#3b6ea5", "bf16_ratio": "#b03a2e"}


def append_figures(case: str, figures: Mapping[str, float], path: Path = HISTORY) -> list[str]:
    """Append a case's figures with date, commit and machine; returns a warning for each ratio that is 5 % higher."""
    machine = describe_machine()
    warnings = list(find_slower(case, figures, [each for each in read_history(path) if each["machine"] == machine]))
    entry = {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "commit": read_commit(), "machine": machine, "case": case}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry | {name: round(value, 4) for name, value in figures.items()}) + "\n")
    return warnings


def read_history(path: Path = HISTORY) -> list[dict[str, Any]]:
    """All entries, the oldest first."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def find_slower(case: str, figures: Mapping[str, float], earlier: list[dict[str, Any]]) -> Iterator[str]:
    """A sentence for each ratio that is 5 % above the median of the earlier ones of this case."""
    for name in _COLOURS:
        usual = [each[name] for each in earlier if each["case"] == case and name in each]
        if name in figures and usual and figures[name] > _SLOWER * statistics.median(usual):
            before = statistics.median(usual)
            yield f"{case}: {name} is {figures[name]:.2f}, and was {before:.2f} before on this machine"


def describe_machine() -> str:
    """The processor as its maker calls it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def read_commit() -> str:
    """The first digits of the commit that is checked out."""
    command = ["git", "-C", str(HISTORY.parent), "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def draw_history(entries: list[dict[str, Any]]) -> Image.Image:
    """A row for each case: its ratios from left to right in the order they were measured, and a line at 1."""
    cases = list(dict.fromkeys(entry["case"] for entry in entries))
    image = Image.new("RGB", (_WIDTH, _TOP + _ROW * len(cases) + 20), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    draw.text((20, 16), "CPU time of a step, as a ratio to the bare loop in float32 (gray: 1)", "black", font)
    for (name, colour), x in zip(_COLOURS.items(), (500, 600), strict=True):
        draw.text((x, 16), {"fp32_ratio": "float32", "bf16_ratio": "bfloat16"}[name], colour, font)
    for row, case in enumerate(cases):
        measured, bottom = [entry for entry in entries if entry["case"] == case], _TOP + _ROW * (row + 1) - 6
        draw.text((20, bottom - _height(1)), case, "black", font, "lm")
        draw.line((_LEFT, bottom - _height(1), _RIGHT, bottom - _height(1)), "#bbbbbb")
        for column, (name, colour) in enumerate(_COLOURS.items()):
            points = [
                (_LEFT + (_RIGHT - _LEFT) * (number + 0.5) / len(measured), bottom - _height(entry[name]))
                for number, entry in enumerate(measured)
                if name in entry
            ]
            draw.line(points, colour, 2)
            for x, y in points:
                draw.ellipse((x - 3, y - 3, x + 3, y + 3), colour)
            if name in measured[-1]:
                draw.text(
                    (_RIGHT + 12 + 48 * column, bottom - _height(1)), f"{measured[-1][name]:.2f}", colour, font, "lm"
                )
    return image


def _height(ratio: float) -> float:
    """The height of a ratio above its row's lower edge, in pixels."""
    return (_ROW - 12) * (min(max(ratio, _LOWEST), _HIGHEST) - _LOWEST) / (_HIGHEST - _LOWEST)


if __name__ == "__main__":
    draw_history(read_history()).save(PLOT)
