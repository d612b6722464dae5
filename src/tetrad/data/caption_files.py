"""What a picture shows, in words: from the file beside it, or from the words that were given."""

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from tetrad.data.captions import contains

SUFFIXES = (".txt", ".caption", ".TXT", ".CAPTION")
LARGEST = 100_000  # bytes; a caption is a sentence, so this is some other file
ENCODINGS = ("utf-8-sig", "gb18030")
# What cameras and phones call their files; none of it says what is in the picture.
CAMERA_NAMES = frozenset({"img", "dsc", "dscn", "dscf", "pxl", "mvimg", "image", "photo", "screenshot", "whatsapp"})


@dataclass(frozen=True)
class Caption:
    """Words for one picture, where they come from, and which caption file could not be used.

    The source is "file", "file+word" (the word was put in front), "word", "class" or "name" (of the image file).
    """

    text: str
    source: str
    problem: "BadCaption | None" = None


class BadCaption(Exception):
    """A caption file that cannot be used; the reason is a whole clause, for a person."""

    def __init__(self, path: Path, code: str, reason: str) -> None:
        super().__init__(f"{path}: {code} {reason}")
        self.path = path
        self.code = code
        self.reason = reason


def caption(image: Path, word: str = "", class_word: str = "") -> Caption:
    """The caption of an image file.  A word that was given is in it, whatever the file beside the image says."""
    problem = None
    for suffix in SUFFIXES:
        try:
            text = written(image.with_suffix(suffix))
        except BadCaption as bad:
            problem = bad
            continue
        if text and contains(text, word):
            return Caption(text, "file", problem)
        if text:
            return Caption(f"{word}, {text}", "file+word", problem)
    if word:
        return Caption(f"a photo of {word} {class_word}".strip(), "word", problem)
    if class_word:
        return Caption(class_word, "class", problem)
    return Caption(from_name(image.stem), "name", problem)


def written(path: Path) -> str:
    """The text of a caption file, its lines joined by commas; empty where there is no such file."""
    if not os.path.isfile(path):  # not Path.is_file, which raises where the name is too long for a file
        return ""
    try:
        with path.open("rb") as opened:
            content = opened.read(LARGEST + 1)
    except OSError as error:
        raise BadCaption(path, "E4152", f"it cannot be read ({error.strerror}), so it was left out") from error
    if len(content) > LARGEST:
        raise BadCaption(path, "E4151", "it has over 100 kB, too much for a caption, so it was left out")
    lines = (" ".join(plain(line).split()).strip(" ,") for line in decoded(path, content).splitlines())
    return ", ".join(line for line in lines if line)


def decoded(path: Path, content: bytes) -> str:
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


def from_name(stem: str) -> str:
    """What a file's name says: its words without numbers and cameras' prefixes, or that it is a photo."""
    text = plain(stem.encode("utf-8", "ignore").decode())  # a name that is not UTF-8 holds lone surrogates
    words = re.split(r"[\s_.\-()\[\]]+", text)
    return " ".join(w for w in words if w and not re.search(r"\d", w) and w.lower() not in CAMERA_NAMES) or "a photo"
