"""Save images as PNG with their infotext (generation parameters), and read it again."""

import io
from pathlib import Path

from PIL import Image, PngImagePlugin

from tetrad.errors import TetradError
from tetrad.formats.atomic_write import write_atomically
from tetrad.images.diagnosis import BadImage
from tetrad.images.load import open_image
from tetrad.locales import _

EXIF_USER_COMMENT = 0x9286  # EXIF's UserComment: JPEG and WebP files hold the infotext there


def save_png(path: Path, image: Image.Image, infotext: str = "") -> None:
    """Write a PNG atomically.  E4202 if it cannot be written."""
    png_info = PngImagePlugin.PngInfo()
    if infotext:
        add_text = png_info.add_text if infotext.isascii() else png_info.add_itxt
        add_text("parameters", infotext)
    content = io.BytesIO()
    image.save(content, "PNG", pnginfo=png_info)
    write_atomically(path, content.getvalue())


def read_infotext(path: Path) -> str:
    """Read the infotext of an image from any web UI.

    E3205 if it has none, E4103 if there is no such file, E41… of `BadImage` if it cannot be read.
    """
    if not path.exists():
        raise TetradError("E4103", _("{path} does not exist; give a generated PNG"), path=path)
    try:
        with open_image(path) as image:
            image.load()
            infotext = image.info.get("parameters")
            comment = image.getexif().get_ifd(0x8769).get(EXIF_USER_COMMENT, b"")
    except BadImage as error:
        raise unreadable_image_error(path, error) from error
    if not infotext and isinstance(comment, bytes):
        infotext = _decode_comment(comment)
    if not infotext:
        raise TetradError(
            "E3205",
            _("{path} has no generation parameters; they were removed, or it is not a generated image"),
            path=path,
        )
    return str(infotext)


def _decode_comment(comment: bytes) -> str:
    """The text of a UserComment; programs write UTF-16 in either byte order."""
    content = comment[8:]
    encoding = {b"UNICODE": "utf-16-be", b"ASCII": "ascii"}.get(comment[:8].rstrip(b"\0"), "utf-8")
    if encoding == "utf-16-be" and "Steps: " in (text := content.decode("utf-16-le", "replace")):
        return text
    return content.decode(encoding, "replace")


def unreadable_image_error(path: Path, error: BadImage) -> TetradError:
    """The error for an image file that a person named."""
    return TetradError(error.code, _("{path} cannot be read: {reason}"), path=path, reason=error.reason)
