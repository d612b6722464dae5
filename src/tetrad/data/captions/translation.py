"""Translate Chinese tags to English with the dictionary in tags_zh.tsv, longest match first."""

import re
from functools import cache
from pathlib import Path

from tetrad.data.captions.edits import edit_lines

_DICTIONARY = Path(__file__).with_name("tags_zh.tsv")
_SEPARATORS = re.compile("[,，、。；;]")
# A run of Chinese characters, with one letter or digit in front (T恤); with kana, so that Japanese words are listed.
_WORDS = re.compile(r"(?:(?<![A-Za-z0-9])[A-Za-z0-9])?[\u3040-\u30ff\u3400-\u9fff]+")
_PARTICLES = "的地了着上里个只"  # they only join words, or count things


@cache
def load_dictionary() -> dict[str, str]:
    """English by Chinese: two columns with a tab between them; lines that begin with # are headings."""
    lines = _DICTIONARY.read_text("utf-8").splitlines()
    rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return {chinese: english for chinese, english in rows}


def translate_caption(caption: str) -> tuple[str, list[str]]:
    """The caption with its Chinese tags in English, and the Chinese words that are not known and stay as they are.

    A caption without Chinese words stays as it is.
    """
    unknown: list[str] = []

    def translate(line: str) -> str:
        if not _WORDS.search(line):
            return line
        tags = (_translate_tag(tag.strip(), unknown) for tag in _SEPARATORS.split(line))
        return ", ".join(filter(None, tags))

    return edit_lines(caption, translate), unknown


def _translate_tag(tag: str, unknown: list[str]) -> str:
    """A tag with each run of Chinese characters translated, word by word."""
    return " ".join(_WORDS.sub(lambda run: f" {' '.join(_translate_run(run[0], unknown))} ", tag).split())


def _translate_run(run: str, unknown: list[str]) -> list[str]:
    """The words of a run of Chinese characters: at each place the longest one of the dictionary."""
    dictionary, longest = load_dictionary(), _longest_entry()
    words, position, rest = [], 0, ""
    while position <= len(run):
        lengths = range(min(longest, len(run) - position), 0, -1)
        length = next((each for each in lengths if run[position : position + each] in dictionary), 0)
        at_particle = position < len(run) and not length and rest.isascii() and run[position] in _PARTICLES
        if (length or at_particle or position == len(run)) and rest:
            words.append(rest)
            unknown += [] if rest.isascii() else [rest]
            rest = ""
        if length:
            words.append(dictionary[run[position : position + length]])
        elif position < len(run) and not at_particle:
            rest += run[position]
        position += length or 1
    return words


@cache
def _longest_entry() -> int:
    return max(map(len, load_dictionary()))
