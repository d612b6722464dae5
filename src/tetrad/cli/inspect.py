"""`tetrad inspect`: what a file is, without using it."""

import json
import sys
from typing import Annotated, Any

import typer

LONG = 200  # letters of a value that are shown to a person
BYTES = ("bytes", "KiB", "MiB", "GiB")


def inspect(
    name: Annotated[str, typer.Argument(metavar="FILE", help="Any weight file, picture, run or folder; or builtin.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with everything, for programs.")] = False,
) -> None:
    """Say what a file or folder is: kind, family, ranks or vectors, precision, hashes, how it was trained, trouble."""
    from tetrad.builtin import CARD, PREFIX
    from tetrad.library.inspection import inspected

    found = inspected(name)
    if as_json:
        print(json.dumps(vars(found), ensure_ascii=False))
        return
    print(f"{found.path}: {found.what}")
    for key, value in found.facts.items():
        print(f"  {key:<25}{worded(key, value)}")
    if found.metadata:
        print(f"  {'metadata':<25}{worded('', list(found.metadata))}")
    if name == PREFIX:
        print(f"\n{CARD.read_text('utf-8').strip()}")
    for trouble in found.trouble:
        print(f"trouble: {trouble}", file=sys.stderr)


def worded(key: str, value: Any) -> str:
    """A value for a person: on one line, not too long, letters that a terminal would obey left out."""
    if key == "bytes":
        return size(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        value = ", ".join(f"{name} {number}" for name, number in value.items())
    if isinstance(value, list):
        value = ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in value) or "none"
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return text if len(text) <= LONG else f"{text[: LONG - 1]}…"


def size(number: int) -> str:
    """Bytes as people say them."""
    value, unit = float(number), 0
    while value >= 1024 and unit < len(BYTES) - 1:
        value, unit = value / 1024, unit + 1
    return f"{number:,} bytes" if unit == 0 else f"{value:.1f} {BYTES[unit]} ({number:,} bytes)"
