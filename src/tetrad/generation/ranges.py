"""The values of a grid's axis as they are typed: between commas, and numbers by ranges, as A1111 writes them."""

import csv
import re
from collections.abc import Sequence
from typing import Any

from tetrad.errors import TetradError

STEPPED = re.compile(r"(-?[\d.]+)\s*-\s*(-?[\d.]+)\s*\(\s*([+-]?[\d.]+)\s*\)")  # 10-30 (+10)
COUNTED = re.compile(r"(-?[\d.]+)\s*-\s*(-?[\d.]+)\s*\[\s*(\d+)\s*\]")  # 0-1 [5]
RANGE = re.compile(r"(\d+)\s*-\s*(\d+)")  # 1-4
MOST = 100  # values of an axis


def values(text: str) -> list[str]:
    """Values between commas; one with commas in it stands in quotes."""
    (row,) = csv.reader([" ".join(text.split())], skipinitialspace=True)
    return [value.strip() for value in row if value.strip()]


def numbers(texts: Sequence[str], kind: type) -> list[Any]:
    """Numbers, `1-4`, `10-30 (+10)` and `0-1 [5]` as A1111 writes ranges.  E3241 for what is none."""
    found: list[Any] = []
    for text in texts:
        try:
            if match := STEPPED.fullmatch(text):
                first, last, step = map(float, match.groups())
                count = int((last - first) / step + 1e-6) + 1 if step else 0
                found += [kind(round(first + number * step, 9)) for number in range(min(max(count, 0), MOST + 1))]
            elif match := COUNTED.fullmatch(text):
                first, last, count = float(match[1]), float(match[2]), min(int(match[3]), MOST + 1)
                found += [kind(round(first + n * (last - first) / max(1, count - 1), 9)) for n in range(count)]
            elif match := RANGE.fullmatch(text):
                found += [kind(number) for number in range(int(match[1]), min(int(match[2]), int(match[1]) + MOST) + 1)]
            else:
                found.append(kind(text))
        except ValueError as error:
            what = "whole number" if kind is int else "number"
            raise TetradError(
                "E3241", f"{text!r} is no {what}; write 10, 20 or 1-4 or 10-30 (+10) or 0-1 [5]"
            ) from error
    return found
