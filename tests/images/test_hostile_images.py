"""Whatever opens an image opens it by one door: known formats, a limit of pixels, damage said in one sentence."""

import io
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import EpsImagePlugin, Image, PngImagePlugin

from tetrad.errors import TetradError
from tetrad.images import png
from tetrad.images.diagnosis import BadImage
from tetrad.images.load import load_image
from tetrad.images.tensors import to_image
from tetrad.inspection import inspect_path


def noise() -> Image.Image:
    return to_image(torch.rand(3, 24, 40, generator=torch.Generator().manual_seed(0)))


def png_header(width: int, height: int) -> bytes:
    """The first bytes of a PNG file that says it has this size."""
    header = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + zlib.crc32(header).to_bytes(4)


def damaged_avif() -> bytes:
    content = io.BytesIO()
    noise().save(content, "AVIF")
    return content.getvalue()[:200] + b"\xff" * 300


def png_with_endless_text() -> bytes:
    content, info = io.BytesIO(), PngImagePlugin.PngInfo()
    info.add_text("parameters", "x" * 5_000_000, zip=True)
    noise().save(content, "PNG", pnginfo=info)
    return content.getvalue()


def jpeg_of_many_scans() -> bytes:
    """Its last scan again and again; each goes through the whole image."""
    content = io.BytesIO()
    noise().save(content, "JPEG", progressive=True)
    start = content.getvalue().rindex(b"\xff\xda")
    return content.getvalue()[:-2] + content.getvalue()[start:-2] * 50 + b"\xff\xd9"


def damaged_tiff() -> bytes:
    return b"II*\0\xff\xff\xff\x7f" + b"\0" * 40


HOSTILE = {
    "a PostScript program": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\nshowpage\n", "E4109"),
    "a huge PNG in 66 bytes": (png_header(60_000, 60_000) + b"\0\0\0\0IDAT" + b"\0" * 25, "E4112"),
    "a PNG above the limit": (png_header(10_001, 10_001) + b"\0\0\0\0IDAT" + b"\0" * 25, "E4112"),
    "a JPEG in many scans": (jpeg_of_many_scans(), "E4106"),
    "a damaged AVIF": (damaged_avif(), "E41"),
    "a PNG that ends in its header": (png_header(64, 64), "E4102"),
    "a PNG with endless text": (png_with_endless_text(), "E4106"),
    "a PNG with a wrong checksum in its header": (png_header(64, 64)[:-1] + b"\0" + b"\0\0\0\0IEND" * 3, "E4106"),
    "a TIFF whose directory lies beyond its end": (damaged_tiff(), "E4106"),
    "text": (b"not an image", "E4103"),
    "nothing": (b"", "E4101"),
}


@pytest.mark.parametrize("open_file", [load_image, png.read_infotext, inspect_path], ids=lambda f: f.__name__)
@pytest.mark.parametrize("case", list(HOSTILE))
def test_a_hostile_image_is_refused_in_one_sentence_whatever_opens_it(
    case: str, open_file: Callable[[Any], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    content, code = HOSTILE[case]
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises((BadImage, TetradError)) as caught:
        open_file(path)
    assert caught.value.code.startswith(code)
    monkeypatch.setenv("TETRAD_LANG", "zh_CN")
    assert not re.search(r"[a-z]+ [a-z]+ [a-z]+", str(caught.value)), "a library's own English words"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("open_file", [load_image, png.read_infotext, inspect_path], ids=lambda f: f.__name__)
def test_a_pipe_is_no_image(open_file: Callable[[Any], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises((BadImage, TetradError), match=r"E4120|E5001"):
        open_file(tmp_path / "a.png")


def test_a_small_image_is_too_small_to_train_on_but_not_to_inspect(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(BadImage, match="E4110"):
        load_image(tmp_path / "a.png")
    assert inspect_path(str(tmp_path / "a.png")).facts["size"] == "4 x 4"
