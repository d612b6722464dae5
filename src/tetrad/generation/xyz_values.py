"""Parse the values of a grid axis: comma-separated, with A1111's number ranges."""

import csv
import re
from collections.abc import Sequence
from typing import Any

from tetrad.errors import TetradError
from tetrad.locales import _

_STEP_RANGE = re.compile(r"(-?[\d.]+)\s*-\s*(-?[\d.]+)\s*\(\s*([+-]?[\d.]+)\s*\)")  # 10-30 (+10)
_COUNT_RANGE = re.compile(r"(-?[\d.]+)\s*-\s*(-?[\d.]+)\s*\[\s*(\d+)\s*\]")  # 0-1 [5]
_RANGE = re.compile(r"(\d+)\s*-\s*(\d+)")  # 1-4
MAX_AXIS_VALUES = 100


def split_values(text: str) -> list[str]:
    """Split at commas; a value that contains a comma is in double quotes."""
    (row,) = csv.reader([" ".join(text.split())], skipinitialspace=True)
    return [value.strip() for value in row if value.strip()]


def parse_numbers(texts: Sequence[str], number_type: type) -> list[Any]:
    """Numbers and A1111's ranges `1-4`, `10-30 (+10)` and `0-1 [5]`.  E3241 for anything else.

    At most MAX_AXIS_VALUES + 1 numbers come of a range, enough for the caller to see that there are too many.
    """
    numbers: list[Any] = []
    for text in texts:
        try:
            numbers += _expand_range(text, number_type)
        except ValueError as error:
            if number_type is int:
                template = _("'{text}' is not a whole number; write 10, 20 or 1-4 or 10-30 (+10) or 0-100 [5]")
            else:
                template = _("'{text}' is not a number; write 1, 2.5 or 1-4 or 0-1 (+0.2) or 0-1 [5]")
            raise TetradError("E3241", template, text=text) from error
    return numbers


def _expand_range(text: str, number_type: type) -> list[Any]:
    """The numbers of one value.  ValueError where it is none."""
    limit = MAX_AXIS_VALUES + 1
    if match := _STEP_RANGE.fullmatch(text):
        first, last, step = map(float, match.groups())
        count = int((last - first) / step + 1e-6) + 1 if step else 0
        return [number_type(round(first + number * step, 9)) for number in range(min(max(count, 0), limit))]
    if match := _COUNT_RANGE.fullmatch(text):
        first, last, count = float(match[1]), float(match[2]), min(int(match[3]), limit)
        return [number_type(round(first + n * (last - first) / max(1, count - 1), 9)) for n in range(count)]
    if match := _RANGE.fullmatch(text):
        start = int(match[1])
        return [number_type(number) for number in range(start, min(int(match[2]), start + MAX_AXIS_VALUES) + 1)]
    return [number_type(text)]


def parse_size(text: str) -> tuple[int, int]:
    """512x768 as (width, height).  E3241 for anything else."""
    width, _x, height = text.lower().replace("×", "x").partition("x")
    if not (width.strip().isdigit() and height.strip().isdigit()):
        raise TetradError("E3241", _('"{text}" is not a size; write a size such as 512x768'), text=text)
    return int(width), int(height)
