"""What a picture shows, in words: from the file beside it, or from its own name."""

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tetrad.data import encodings

SUFFIXES = (".txt", ".caption", ".TXT", ".CAPTION")
LARGEST = 100_000  # bytes; a caption is a sentence, so this is some other file
# What cameras and phones call their files; none of it says what is in the picture.
CAMERA_NAMES = frozenset({"img", "dsc", "dscn", "dscf", "pxl", "mvimg", "image", "photo", "screenshot", "whatsapp"})


class BadCaption(Exception):
    """A caption file that cannot be used; reason and advice are whole clauses, for a person."""

    def __init__(self, path: Path, code: str, reason: str, advice: str) -> None:
        super().__init__(f"{path}: {code} {reason}; {advice}")
        self.path = path
        self.code = code
        self.reason = reason
        self.advice = advice

    @property
    def left_out(self) -> str:
        """What to say where the rest is still used."""
        return f"{self.reason}, so it is left out; {self.advice}"


@dataclass(frozen=True)
class Words:
    """A picture's own words, a line for each line of the file, where they come from, and which file is no use."""

    text: str = ""
    source: str = ""  # ".txt", ".caption" and so on; empty where there are none
    problem: BadCaption | None = None
    guess: str = ""  # the encoding that the file seemed to be in, where it does not say


def beside(image: Path, suffixes: Sequence[str] = SUFFIXES, usual: str = "") -> Words:
    """What the first caption file beside an image says that says anything; `usual` is the folder's encoding."""
    problem = None
    for suffix in suffixes:
        try:
            text, guess = written(image.with_suffix(suffix), usual)
        except BadCaption as bad:
            problem = bad
            continue
        if text:
            return Words(text, suffix.lower(), problem, guess)
    return Words(problem=problem)


def usual_encoding(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> str:
    """What the caption files of a folder are in that are no UTF-8; "" where there are none."""
    found = sorted(path for path in folder.iterdir() if path.suffix in suffixes and path.is_file())
    return encodings.usual(content for path in found if (content := small_content(path)))


def small_content(path: Path) -> bytes:
    """A caption file's bytes; nothing where it cannot be used."""
    try:
        return content(path, LARGEST)
    except BadCaption:
        return b""


def written(path: Path, usual: str = "") -> tuple[str, str]:
    """The text of a caption file, without its empty lines, and the encoding if that was guessed.  Raises BadCaption.

    Empty where there is no such file.
    """
    if not os.path.isfile(path):  # not Path.is_file, which raises where the name is too long for a file
        return "", ""
    whole, guess = text(path, LARGEST, usual)
    lines = (" ".join(plain(line).split()).strip(" ,，") for line in whole.splitlines())
    return "\n".join(line for line in lines if line), guess


def text(path: Path, largest: int, usual: str = "") -> tuple[str, str]:
    """The text of a file in any usual encoding, and which one if that was guessed.  Raises BadCaption."""
    try:
        return encodings.decoded(content(path, largest), usual)
    except ValueError as error:
        raise BadCaption(path, "E4152", "it is no text in any usual encoding", "save it as UTF-8") from error


def content(path: Path, largest: int) -> bytes:
    """The bytes of a file of text.  Raises BadCaption."""
    try:
        with path.open("rb") as opened:
            found = opened.read(largest + 1)
    except OSError as error:
        reason = f"it cannot be read ({error.strerror})"
        raise BadCaption(path, "E4152", reason, "see that you may open it") from error
    if len(found) > largest:
        size = f"{largest // 1000} kB" if largest < 1_000_000 else f"{largest // 1_000_000} MB"
        raise BadCaption(path, "E4151", f"it has over {size}, too much for captions", "a caption is a sentence or two")
    return found


def plain(line: str) -> str:
    """A line without control characters (NULs, terminal escapes); tabs are spaces."""
    return "".join(letter for letter in line.replace("\t", " ") if unicodedata.category(letter) != "Cc")


def from_name(stem: str, pattern: str = "") -> str:
    """What a file's name says: its words without numbers and cameras' prefixes; empty where that is nothing.

    With a pattern: all that it finds after the leading number, joined by spaces, as web UIs read names.
    """
    name = plain(stem.encode("utf-8", "ignore").decode())  # a name that is not UTF-8 holds lone surrogates
    if pattern:
        found = (match[0] for match in re.finditer(pattern, re.sub(r"^[-\d]+\s*", "", name)))
        return " ".join(" ".join(found).split())
    words = re.split(r"[\s_.\-()\[\]]+", name)
    return " ".join(w for w in words if w and not re.search(r"\d", w) and w.lower() not in CAMERA_NAMES)
