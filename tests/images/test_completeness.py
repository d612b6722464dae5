"""An image file that lacks a part of its pixels is found, where its decoder fills the gap and says nothing."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tetrad.images import jpeg_data
from tetrad.images.diagnosis import BadImage
from tetrad.images.examine import examine_image, make_preview
from tetrad.images.load import load_image

RNG = np.random.default_rng(2)
JPEG_END = b"\xff\xd9"


def photo(width: int = 640, height: int = 480) -> Image.Image:
    small = Image.fromarray(RNG.integers(0, 255, (40, 60, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def encode(file_format: str = "JPEG", image: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image or photo()).save(buffer, file_format, **options)
    return buffer.getvalue()


def make_png(rows: int, image: Image.Image, interlaced: bool = False) -> bytes:
    """A PNG of `image` whose data has only its first rows."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    levels = np.asarray(image)
    parts = [levels]
    if interlaced:
        steps = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
        parts = [levels[top::down, left::across] for top, left, down, across in steps]
    lines = [b"\0" + line.tobytes() for part in parts for line in part if line.size]
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, interlaced)
    data = zlib.compress(b"".join(lines[:rows]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def cut_jpeg(share: float, **options: Any) -> bytes:
    content = encode(**options)
    return content[: int(len(content) * share)] + JPEG_END


def without_a_restart_interval() -> bytes:
    content = encode(restart_marker_rows=1)
    first, second = content.index(b"\xff\xd3"), content.index(b"\xff\xd4")
    return content[:first] + content[second:]


def end_in_zeros(content: bytes) -> bytes:
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


def leave_a_hole(content: bytes) -> bytes:
    start = len(content) // 2 // 512 * 512
    return content[:start] + bytes(4096) + content[start + 4096 :]


INCOMPLETE: dict[str, Callable[[], bytes]] = {
    "a.jpg": lambda: cut_jpeg(0.5),
    "last-blocks.jpg": lambda: cut_jpeg(0.99),
    "grey.jpg": lambda: cut_jpeg(0.5, image=photo().convert("L")),
    "cmyk.jpg": lambda: cut_jpeg(0.5, image=photo().convert("CMYK")),
    "progressive.jpg": lambda: cut_jpeg(0.5, progressive=True),
    "restarts.jpg": lambda: cut_jpeg(0.5, restart_marker_rows=1),
    "interval.jpg": without_a_restart_interval,
    "a.png": lambda: make_png(240, photo()),
    "last-row.png": lambda: make_png(479, photo()),
    "interlaced.png": lambda: make_png(700, photo(640, 481), interlaced=True),
    "a.webp": lambda: end_in_zeros(encode("WEBP")),
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_an_image_without_all_of_its_data_is_not_used(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(INCOMPLETE[name]())
    for use in (examine_image, load_image, lambda path: make_preview(path, 160)):
        with pytest.raises(BadImage) as error:
            use(path)
        assert error.value.code == "E4102"


def test_a_heic_that_ends_in_zeros_is_not_used(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    (tmp_path / "a.heic").write_bytes(end_in_zeros(encode("HEIF", photo(1600, 1200))))
    with pytest.raises(BadImage, match="E4102"):
        examine_image(tmp_path / "a.heic")


def grey_below(mode: str, level: int) -> Image.Image:
    """The image of a photo on a plane of one colour, like that which the decoder makes up, or black."""
    image = Image.new(mode, (640, 480), (level,) * len(mode) if len(mode) > 1 else level)
    image.paste(photo(640, 200).convert(mode))
    return image


WHOLE: dict[str, Callable[[], bytes]] = {
    "a.jpg": encode,
    "plane.jpg": lambda: encode(image=grey_below("RGB", 128)),
    "grey.jpg": lambda: encode(image=grey_below("L", 128)),
    "cmyk.jpg": lambda: encode(image=grey_below("CMYK", 127)),
    "progressive.jpg": lambda: encode(image=grey_below("RGB", 128), progressive=True),
    "restarts.jpg": lambda: encode(restart_marker_blocks=3),
    "coarse.jpg": lambda: encode(subsampling="4:1:1", restart_marker_rows=2),
    "grey-restarts.jpg": lambda: encode(image=photo(645, 483).convert("L"), restart_marker_blocks=7),
    "more-restarts.jpg": lambda: encode(image=photo(645, 483), progressive=True, restart_marker_rows=1),
    "black.png": lambda: make_png(480, grey_below("RGB", 0)),
    "odd-interlaced.png": lambda: make_png(10_000, photo(85, 67), interlaced=True),
    "palette.png": lambda: encode("PNG", Image.new("P", (641, 70))),
    "bits.png": lambda: encode("PNG", Image.new("1", (641, 70))),
    "alpha.png": lambda: encode("PNG", Image.new("LA", (641, 70))),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_image_is_used_though_its_end_looks_made_up(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(WHOLE[name]())
    info = examine_image(path)
    assert load_image(path).size == (info.width, info.height) and not info.has_hole


def test_a_jpeg_is_decoded_once_where_its_end_does_not_look_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jpeg_data, "_decode_small", pytest.fail)
    (tmp_path / "a.jpg").write_bytes(encode())
    examine_image(tmp_path / "a.jpg")


@pytest.mark.parametrize(("name", "file_format"), [("a.jpg", "JPEG"), ("a.webp", "WEBP"), ("a.heic", "HEIF")])
def test_a_hole_in_a_file_is_noticed(name: str, file_format: str, tmp_path: Path) -> None:
    """The decoder reads the zeros as data, and draws something; from another place the zeros may be data."""
    pytest.importorskip("pillow_heif").register_heif_opener()
    noise = Image.fromarray(RNG.integers(0, 255, (600, 800, 3), dtype=np.uint8))
    whole = encode(file_format, noise, quality=90)
    (tmp_path / name).write_bytes(leave_a_hole(whole))
    assert examine_image(tmp_path / name).has_hole
    (tmp_path / name).write_bytes(whole)
    assert not examine_image(tmp_path / name).has_hole


def test_zeros_that_are_data_are_no_hole(tmp_path: Path) -> None:
    """A white page whose code for white is zeros."""
    page = Image.new("L", (4000, 4000), "white")
    page.paste(photo(800, 403).convert("L"))
    content = encode(image=page, optimize=True)
    assert bytes(4096) in content
    (tmp_path / "a.jpg").write_bytes(content)
    assert not examine_image(tmp_path / "a.jpg").has_hole
