"""Pictures on disk, with the request that made them inside."""

import io
from dataclasses import replace
from pathlib import Path

from PIL import Image, PngImagePlugin

from tetrad.errors import TetradError
from tetrad.formats.files import write_whole
from tetrad.generation import infotext as texts
from tetrad.generation.request import Request

COMMENT = 0x9286  # EXIF's UserComment, where JPEG and WebP carry the text


def infotext(request: Request, prompt: str, model_name: str) -> str:
    """A request as web UIs write it; `prompt` is as it was typed, networks and all."""
    return texts.written(replace(request, prompt=prompt), {"Model": Path(model_name).stem})


def save(path: Path, drawn: Image.Image, parameters: str = "") -> None:
    """Write a PNG, whole or not at all.  E4202 where it cannot be written."""
    text = PngImagePlugin.PngInfo()
    if parameters:
        text.add_itxt("parameters", parameters) if not parameters.isascii() else text.add_text("parameters", parameters)
    content = io.BytesIO()
    drawn.save(content, "PNG", pnginfo=text)
    write_whole(path, content.getvalue())


def parameters(path: Path) -> str:
    """The infotext in a picture, whoever wrote it.  E3205 where there is none, E4103 where it is no picture."""
    try:
        with Image.open(path) as opened:
            opened.load()
            found = opened.info.get("parameters")
            comment = opened.getexif().get_ifd(0x8769).get(COMMENT, b"")
    except (OSError, ValueError, SyntaxError) as error:
        raise TetradError(
            "E4103", f"{path} is not there or no picture; give a PNG that was drawn by a prompt"
        ) from error
    if not found and isinstance(comment, bytes):
        coding = {b"UNICODE": "utf-16-be", b"ASCII": "ascii"}.get(comment[:8].rstrip(b"\0"), "utf-8")
        found = comment[8:].decode(coding, "replace")
    if not found:
        raise TetradError("E3205", f"{path} does not say how it was drawn; its text was taken out, or it is a photo")
    return str(found)
