"""What a picture shows, in words: from the file beside it, or from its own name."""

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".txt", ".caption", ".TXT", ".CAPTION")
LARGEST = 100_000  # bytes; a caption is a sentence, so this is some other file
ENCODINGS = ("utf-8-sig", "gb18030")
# What cameras and phones call their files; none of it says what is in the picture.
CAMERA_NAMES = frozenset({"img", "dsc", "dscn", "dscf", "pxl", "mvimg", "image", "photo", "screenshot", "whatsapp"})


class BadCaption(Exception):
    """A caption file that cannot be used; the reason is a whole clause, for a person."""

    def __init__(self, path: Path, code: str, reason: str) -> None:
        super().__init__(f"{path}: {code} {reason}")
        self.path = path
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class Words:
    """A picture's own words, a line for each line of the file, where they come from, and which file is no use."""

    text: str = ""
    source: str = ""  # ".txt", ".caption" and so on; empty where there are none
    problem: BadCaption | None = None


def beside(image: Path, suffixes: Sequence[str] = SUFFIXES) -> Words:
    """What the first caption file beside an image says that says anything."""
    problem = None
    for suffix in suffixes:
        try:
            if text := written(image.with_suffix(suffix)):
                return Words(text, suffix.lower(), problem)
        except BadCaption as bad:
            problem = bad
    return Words(problem=problem)


def written(path: Path) -> str:
    """The text of a caption file, without its empty lines; empty where there is no such file.  Raises BadCaption."""
    if not os.path.isfile(path):  # not Path.is_file, which raises where the name is too long for a file
        return ""
    lines = (" ".join(plain(line).split()).strip(" ,，") for line in text(path, LARGEST).splitlines())
    return "\n".join(line for line in lines if line)


def text(path: Path, largest: int) -> str:
    """The text of a file in any usual encoding.  Raises BadCaption."""
    try:
        with path.open("rb") as opened:
            content = opened.read(largest + 1)
    except OSError as error:
        raise BadCaption(path, "E4152", f"it cannot be read ({error.strerror}), so it was left out") from error
    if len(content) > largest:
        size = f"{largest // 1000} kB" if largest < 1_000_000 else f"{largest // 1_000_000} MB"
        raise BadCaption(path, "E4151", f"it has over {size}, too much for captions, so it was left out")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    for encoding in ENCODINGS:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise BadCaption(path, "E4152", "it is not text in UTF-8, UTF-16 or GB18030, so it was left out; save it as UTF-8")


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
