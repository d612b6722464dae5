"""Find decoded images whose files lack a part of the pixels, though the decoder raised no error."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from tetrad.images.diagnosis import TRUNCATED_ERROR, BadImage
from tetrad.images.jpeg_data import find_scans, is_short, lacks_data

_MADE_UP_GREY = {127, 128}  # of all channels where a JPEG's data is missing; CMYK is stored inverted
_END_BYTES = 1024  # so many zeros are no end of compressed data
_HOLE = bytes(4096)  # what a disk or a download reserves at a time and has not filled, from a multiple of _SECTOR on
_SECTOR, _CHANCE_ZEROS = 512, 2
_INFLATED_BYTES = 1 << 20
# The first column and row of each pass of an interlaced PNG, and its steps.  [PNG specification, 8.2]
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by its colour type


def load_pixels(image: Image.Image, path: Path) -> None:
    """Decode an image that was opened.  BadImage E4102 if its file lacks a part of the pixels.

    Only what can be known cheaply is found; of the rest see docs/reliability.md.
    """
    image.load()
    is_incomplete = {"JPEG": _lacks_jpeg_data, "MPO": _lacks_jpeg_data, "PNG": _lacks_png_rows}.get(image.format or "")
    if (is_incomplete and is_incomplete(image, path)) or (image.format in ("WEBP", "HEIF") and _ends_empty(path)):
        raise BadImage(*TRUNCATED_ERROR)


def has_hole(image: Image.Image, path: Path) -> bool:
    """Whether compressed data has a part that was never filled, which its decoder takes for data."""
    if image.format not in ("JPEG", "WEBP", "HEIF"):
        return False
    content = path.read_bytes()
    parts = find_scans(content) if image.format == "JPEG" else [slice(0, len(content))]
    return any(_find_hole(content, part.start, part.stop) for part in parts)


def read_png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Each chunk's name, where its data begins, and the data's length.  BadImage E4102 if the last one is missing."""
    place, name = 8, b""
    while name != b"IEND":
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            raise BadImage(*TRUNCATED_ERROR)
        name, length = head[4:], int.from_bytes(head[:4])
        yield name, place + 8, length
        place += 12 + length


def _find_hole(content: bytes, start: int, end: int) -> bool:
    """Whether there is one from a multiple of _SECTOR on; the data before it may end in zeros by chance."""
    place = content.find(_HOLE, start, end)
    return place >= 0 and -place % _SECTOR <= _CHANCE_ZEROS


def _lacks_jpeg_data(image: Image.Image, path: Path) -> bool:
    content = path.read_bytes()
    if lacks_data(content):
        return True
    last = image.getpixel((image.width - 1, image.height - 1))
    levels = {last} if isinstance(last, int | float) else set(last or ())
    return levels <= _MADE_UP_GREY and is_short(content)


def _lacks_png_rows(image: Image.Image, path: Path) -> bool:
    """Pillow leaves missing rows zero; where the last one is, its data is counted."""
    last_row = image.crop((0, image.height - 1, image.width, image.height)).tobytes()
    if last_row.strip(b"\0") and not image.info.get("interlace"):
        return False
    with path.open("rb") as file:
        return _count_png_bytes(file)


def _count_png_bytes(file: BinaryIO) -> bool:
    """Whether a PNG's data, unpacked, is shorter than its header says."""
    missing, inflate = 0, zlib.decompressobj()
    for name, start, length in read_png_chunks(file):
        if name == b"IHDR":
            file.seek(start)
            missing = _count_expected_bytes(file.read(13))
        elif name == b"IDAT" and missing > 0:
            file.seek(start)
            packed = file.read(length)
            while packed and missing > 0 and not inflate.eof:
                missing -= len(inflate.decompress(packed, _INFLATED_BYTES))
                packed = inflate.unconsumed_tail
    return missing > 0


def _count_expected_bytes(header: bytes) -> int:
    """The bytes of a PNG's pixels, and one for each row."""
    width, height = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    bits = header[8] * _PNG_CHANNELS.get(header[9], 1)
    total = 0
    for left, top, across, down in _PASSES if header[12] else ((0, 0, 1, 1),):
        columns, rows = max(0, -(-(width - left) // across)), max(0, -(-(height - top) // down))
        total += rows * (1 + -(-columns * bits // 8)) if columns else 0
    return total


def _ends_empty(path: Path) -> bool:
    """Whether a file of compressed data ends in zeros: its place on the disk was reserved, and never filled."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - _END_BYTES))
        return file.read() == bytes(_END_BYTES)
