"""Lays out text in the columns of a terminal, where a Chinese, Japanese or Korean character takes two."""

import unicodedata
from collections.abc import Iterator

OPENING, CLOSING = (
    "（【《〈「『“‘([{",
    "，。、；：？！）】》〉」』”’…,.;:?!)]}%",
)  # no break after these, and before these


def width_of(text: str) -> int:
    """The number of columns that a text takes."""
    return sum(width_of_letter(letter) for letter in text)


def width_of_letter(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def pad(text: str, width: int) -> str:
    """The text with spaces after it up to `width` columns."""
    return text + " " * (width - width_of(text))


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` columns; only a word that is longer than a line is broken inside."""
    lines = [""]
    for piece in split_at_line_breaks(text):
        if lines[-1] and width_of((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
        while width_of(lines[-1].rstrip()) > width and len(lines[-1]) > 1:
            end = next(n for n in range(len(lines[-1]), 0, -1) if n == 1 or width_of(lines[-1][:n]) <= width)
            lines[-1:] = [lines[-1][:end], lines[-1][end:]]
    return [line.rstrip() for line in lines]


def split_at_line_breaks(text: str) -> Iterator[str]:
    """Split where a line may break: after a space, and beside a Chinese, Japanese or Korean character.

    No piece begins with punctuation that closes, or ends with punctuation that opens.
    """
    start = 0
    for end in range(1, len(text)):
        before, after = text[end - 1], text[end]
        is_beside_wide = ord(before) >= 0x2E80 or ord(after) >= 0x2E80
        may_break = is_beside_wide and before not in OPENING and after not in CLOSING
        if after != " " and (before == " " or may_break):
            yield text[start:end]
            start = end
    if text:
        yield text[start:]
