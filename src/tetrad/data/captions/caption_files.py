"""Read the caption of an image from the caption file next to it, or make one from the image's file name."""

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tetrad.data.captions import encodings
from tetrad.data.shards.member_path import is_any_file, open_file
from tetrad.images.infotext import parse_infotext
from tetrad.locales import Message, _
from tetrad.methods import METHODS

CAPTION_SUFFIXES = (".txt", ".caption", ".TXT", ".CAPTION")
_MAX_CAPTION_BYTES = 100_000  # a caption is one or two sentences; a larger file is something else
# Byte order marks inside a text, spaces and joins without width, directions of writing. Joiners form letters and emoji.
_INVISIBLE_MARKS = frozenset("\ufeff\u200b\u2060\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NETWORK_TAG = re.compile(
    rf"\s*<({'|'.join(tag for method in METHODS.values() for tag in method.artifact.prompt_tags)}):[^>]*>"
)
# Prefixes that cameras and phones give to file names; they do not describe the image.
_CAMERA_NAMES = frozenset({"img", "dsc", "dscn", "dscf", "pxl", "mvimg", "image", "photo", "screenshot", "whatsapp"})


class BadCaption(Exception):
    """A text file that cannot be used; reason and advice are whole clauses for the user."""

    def __init__(self, path: Path, code: str, reason: Message, advice: Message) -> None:
        super().__init__(path, code, reason, advice)
        self.path = path
        self.code = code
        self.reason = reason
        self.advice = advice

    @property
    def error_message(self) -> Message:
        """For an error: reason and advice."""
        return Message(_("{reason}; {advice}"), reason=self.reason, advice=self.advice)

    @property
    def skip_message(self) -> Message:
        """For a warning: the file is left out, and the run continues."""
        return Message(_("{reason}, so it is left out; {advice}"), reason=self.reason, advice=self.advice)


@dataclass(frozen=True, slots=True)
class RawCaption:
    """The caption text of an image, its source, and the problem with a caption file that could not be used."""

    text: str = ""  # with the line breaks of the file
    source: str = ""  # ".txt", "metadata.jsonl", "file name" …; "" without a caption
    problem: BadCaption | None = None
    guessed_encoding: str = ""  # the encoding of the file if it was guessed
    is_infotext: bool = False  # whether it is the prompt of a web UI's text


def read_caption(image_path: Path, suffixes: Sequence[str] = CAPTION_SUFFIXES, folder_encoding: str = "") -> RawCaption:
    """The text of the first caption file of an image that is not empty."""
    problem = None
    for suffix in suffixes:
        try:
            text, guessed_encoding = read_caption_file(image_path.with_suffix(suffix), folder_encoding)
        except BadCaption as error:
            problem = error
            continue
        prompt = find_prompt(text)
        if caption := text if prompt is None else prompt:
            return RawCaption(caption, suffix.lower(), problem, guessed_encoding, is_infotext=prompt is not None)
    return RawCaption(problem=problem)


def find_prompt(text: str) -> str | None:
    """The prompt of an infotext, which web UIs write beside their images, without network tags; None for a caption."""
    infotext = parse_infotext(text)
    if "Steps" not in infotext.parameters:
        return None
    return _NETWORK_TAG.sub("", infotext.prompt).strip(" ,\n")


def detect_folder_encoding(folder: Path, suffixes: Sequence[str] = CAPTION_SUFFIXES) -> str:
    """The encoding of a folder's caption files that are not UTF-8; "" if all are UTF-8."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in suffixes)
    return encodings.detect_common_encoding(content for path in paths if (content := _read_bytes_or_empty(path)))


def _read_bytes_or_empty(path: Path) -> bytes:
    """The bytes of a caption file; b"" if it cannot be used."""
    try:
        return read_bytes(path, _MAX_CAPTION_BYTES)
    except BadCaption:
        return b""


def read_caption_file(path: Path, folder_encoding: str = "") -> tuple[str, str]:
    """The text of a caption file without empty lines, and its encoding if that was guessed; "" if there is no file.

    Raises BadCaption.
    """
    if not is_any_file(path):
        return "", ""
    content, guessed_encoding = read_text(path, _MAX_CAPTION_BYTES, folder_encoding)
    lines = (" ".join(remove_control_characters(line).split()).strip(" ,，") for line in content.splitlines())
    return "\n".join(line for line in lines if line), guessed_encoding


def read_text(path: Path, max_bytes: int, folder_encoding: str = "") -> tuple[str, str]:
    """The text of a file in any common encoding, and the encoding if it was guessed.  Raises BadCaption."""
    try:
        return encodings.decode_text(read_bytes(path, max_bytes), folder_encoding)
    except ValueError as error:
        reason = Message(_("it is not text in a known encoding"))
        raise BadCaption(path, "E4152", reason, Message(_("save it as UTF-8"))) from error


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The bytes of a text file.  Raises BadCaption."""
    try:
        with open_file(path) as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114 - never raise
            reason = Message(_("it is a link to a file that is not there"))
            raise BadCaption(path, "E4152", reason, Message(_("put the file itself here"))) from error
        reason = Message(_("it cannot be read ({reason})"), reason=error.strerror)
        raise BadCaption(path, "E4152", reason, Message(_("check its permissions"))) from error
    if len(data) > max_bytes:
        size = f"{max_bytes // 1000} kB" if max_bytes < 1_000_000 else f"{max_bytes // 1_000_000} MB"
        reason = Message(_("it is larger than {size}, too large for a file of this type"), size=size)
        raise BadCaption(path, "E4151", reason, Message(_("check that it is the right file")))
    return data


def remove_control_characters(line: str) -> str:
    """A line without control characters (NULs, terminal escapes) and invisible marks; tabs become spaces."""
    letters = (letter for letter in line.replace("\t", " ") if letter not in _INVISIBLE_MARKS)
    return "".join(letter for letter in letters if unicodedata.category(letter) != "Cc")


def make_caption_from_name(stem: str, pattern: str = "") -> str:
    """The words of a file name without numbers and camera prefixes; "" if none are left.

    With a pattern: all its matches after the leading number, joined by spaces, as A1111 does.
    """
    # A file name that is not UTF-8 contains lone surrogates.
    name = remove_control_characters(stem.encode("utf-8", "ignore").decode())
    if pattern:
        matches = (match[0] for match in re.finditer(pattern, re.sub(r"^[-\d]+\s*", "", name)))
        return " ".join(" ".join(matches).split())
    words = re.split(r"[\s_.\-()\[\]]+", name)
    return " ".join(w for w in words if w and not re.search(r"\d", w) and w.lower() not in _CAMERA_NAMES)
