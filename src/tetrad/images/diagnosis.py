"""Say why an image file cannot be used: what its bytes are, or what is wrong with them."""

import codecs
import errno
import os
import re
import stat
from pathlib import Path
from typing import Any

from PIL import UnidentifiedImageError

from tetrad.images.decoders import list_formats
from tetrad.locales import Message, _

# Files that Tetrad does not read: error code, and a clause that says what to do.
HEIC_ERROR = (
    "E4107",
    Message(
        _(
            "HEIC images need the package pillow-heif (in Tetrad's folder: python -m pip install -c constraints.txt -e"
            ' ".[heic]"); or save the image as JPEG'
        )
    ),
)
JPEG_XL_ERROR = (
    "E4108",
    Message(
        _(
            "JPEG XL images need the package pillow-jxl-plugin (in Tetrad's folder: python -m pip install -c"
            ' constraints.txt -e ".[jxl]"); or save the image as PNG or JPEG'
        )
    ),
)
PLUGIN_FORMATS = {"E4107": "HEIF", "E4108": "JXL"}  # read where a plugin is installed, and the error where it is not
DOCUMENT_ERROR = (
    "E4109",
    Message(_("vector graphics, layered images and documents are not supported; save the image as PNG or JPEG")),
)
RAW_ERROR = (
    "E4109",
    Message(_("camera raw and other rare image formats are not supported; save the image as PNG or JPEG")),
)
TRUNCATED_ERROR = (
    "E4102",
    Message(_("the file ends before its image data is complete; copy it again from its source")),
)
_DAMAGED_ERROR = ("E4106", Message(_("its image data is damaged or cut off; copy it again from its source")))
_TEXT_BOMB_ERROR = (
    "E4106",
    Message(
        _("the texts or the colour profile in it are larger than an image needs; save the image again without them")
    ),
)
_LFS_ERROR = (
    "E4105",
    Message(_("the file is a Git LFS placeholder; run `git lfs pull` in the repository it came from")),
)
_WEB_PAGE_ERROR = ("E4104", Message(_("the file is a web page, not an image; download the image itself")))

_SIGNATURE_ERRORS = (
    (rb"version https://git-lfs", *_LFS_ERROR),
    (rb"\s*(<\?xml.{,400})?(<!doctype svg.{,400})?<svg", *DOCUMENT_ERROR),
    (rb"\s*(<!doctype html|<html|<head)", *_WEB_PAGE_ERROR),
    (rb"%PDF|%!PS|\xc5\xd0\xd3\xc6|8BPS", *DOCUMENT_ERROR),
    (rb"SIMPLE  =|DDS ", *RAW_ERROR),
    (rb".{4}ftyp(hei|hev|mif1|msf1)", *HEIC_ERROR),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", *JPEG_XL_ERROR),
)

# The first bytes of the formats that are read, for files that are damaged near their beginning.
_FORMAT_SIGNATURE = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF.{4}WEBP|BM.{4}\0\0\0\0|II\*\0|MM\0\*|.{4}ftypavi[fs]", re.DOTALL
)
_PLUGIN_SIGNATURE = re.compile(rb".{4}ftyp(hei|hev|mif1|msf1)|\xff\x0a|\0\0\0\x0cJXL ", re.DOTALL)


class BadImage(Exception):
    """An image file that cannot be used; the reason is a whole clause for the user."""

    def __init__(self, code: str, template: str | Message, /, **values: Any) -> None:
        self.code = code
        self.reason = template if isinstance(template, Message) else Message(template, **values)
        super().__init__(code, self.reason)

    def __str__(self) -> str:
        return f"{self.code} {self.reason}"


def check_is_file(path: Path) -> None:
    """BadImage E4120 for what may not be read, or is no file, such as a pipe, on which reading would never end."""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):  # of broken links
            raise explain_unreadable(error) from error
        is_file = False
    if not is_file:
        raise BadImage("E4120", _("it is not a file, or it is a broken link; replace it with the image"))


def explain_unreadable(error: OSError) -> BadImage:
    """E4120 for a file that the system does not let us read."""
    if error.errno == errno.ENAMETOOLONG:
        return BadImage("E4120", _("the path to it is too long; move it to a folder with a shorter path"))
    return BadImage("E4120", _("it cannot be read ({reason}); check its permissions"), reason=error.strerror)


def is_image_start(start: bytes) -> bool:
    """Whether a file with these first bytes is an image that is read, or would be with a plugin."""
    return bool(_FORMAT_SIGNATURE.match(start) or _PLUGIN_SIGNATURE.match(start))


def diagnose_file(path: Path, error: Exception) -> BadImage:
    """Find out from its bytes why a file could not be decoded."""
    try:
        with path.open("rb") as file:
            start = file.read(1024)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 64))
            end = file.read()
    except OSError as unreadable:
        return explain_unreadable(unreadable)
    if not start:
        return BadImage("E4101", _("the file is empty; copy it again from its source"))
    for pattern, code, reason in _SIGNATURE_ERRORS:
        if re.match(pattern, start.removeprefix(b"\xef\xbb\xbf"), re.IGNORECASE | re.DOTALL):
            if PLUGIN_FORMATS.get(code) in list_formats():
                is_cut = "end of file" in str(error).lower()
                return BadImage(*(TRUNCATED_ERROR if is_cut else _DAMAGED_ERROR))
            return BadImage(code, reason)
    if _is_truncated(start, end, size) or "truncated" in str(error).lower():
        return BadImage(*TRUNCATED_ERROR)
    if "PngImagePlugin" in str(error) or "MAX_TEXT_MEMORY" in str(error):
        return BadImage(*_TEXT_BOMB_ERROR)
    if not isinstance(error, UnidentifiedImageError) or (_FORMAT_SIGNATURE.match(start) and not _is_empty_png(start)):
        return BadImage(*_DAMAGED_ERROR)
    if _looks_like_text(start):
        return BadImage("E4103", _("it is not an image but text; replace it with the image"))
    return BadImage(
        "E4103",
        _("it is not a supported image (its first bytes are {start}); replace it with the image"),
        start=ascii(start[:8])[1:],
    )


def _is_truncated(start: bytes, end: bytes, size: int) -> bool:
    """Whether a file ends before the end marker or the length that its format requires."""
    match start[:2]:
        case b"\x89P":
            return b"IEND" not in end
        case b"\xff\xd8":
            return b"\xff\xd9" not in end
        case b"GI":
            return not end.endswith(b";")
        case b"RI":
            return start[8:12] == b"WEBP" and size < 8 + int.from_bytes(start[4:8], "little")
        case b"BM":
            return size < int.from_bytes(start[2:6], "little")
    return start[4:8] == b"ftyp" and size < _find_boxes_end(start)


def _is_empty_png(start: bytes) -> bool:
    """Whether it is a PNG that says that it has no pixels, which was never an image."""
    return start.startswith(b"\x89PNG") and b"\0\0\0\0" in (start[16:20], start[20:24])


def _find_boxes_end(start: bytes) -> int:
    """Offset where the boxes of an AVIF file end, as far as its first bytes show; each box begins with its length."""
    end = 0
    while length := int.from_bytes(start[end : end + 4]):
        end += length
    return end


def _looks_like_text(start: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()  # incremental: the last character may be incomplete
    try:
        text = decoder.decode(start)
    except UnicodeDecodeError:
        return False
    return len(text) > 1 and all(letter.isprintable() or letter.isspace() for letter in text)
