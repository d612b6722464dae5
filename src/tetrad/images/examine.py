"""Examine an image file in one decoding: its size, what loading it changes, its measures, a thumbnail to compare."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageCms

from tetrad.images.bands import FORMATS_WITH_FRACTIONS, UprightImage, read_alpha, reduce_on_white
from tetrad.images.completeness import has_hole, load_pixels, read_png_chunks
from tetrad.images.concurrency import PIXEL_BUDGET
from tetrad.images.diagnosis import BadImage
from tetrad.images.load import check_for_use, is_sixteen_bit, open_image
from tetrad.images.measure import MEASURED_SIDE, Measures, measure_image
from tetrad.images.near_duplicates import make_thumbnail
from tetrad.locales import _

_MIN_SIDE_PIXELS = 64  # below, an image would be enlarged eight times for a resolution of 512
_MAX_ASPECT_RATIO = 10  # buckets reach 4:1, so more than half of a longer strip would be cropped
_JPEG_END = b"\xff\xd9"
_PADDING, _TAIL_BYTES = b"\0\r\n ", 4096  # what other programs put after the end, without a meaning
IS_TRANSPARENT = "W4134"
# What is changed when an image is loaded; the file itself stays as it is.
FIXES = {
    "W4130": _("it has other data after the end of the image, which is left out"),
    "W4132": _("its CMYK colours are converted to RGB"),
    "W4133": _("its 16-bit levels are scaled to 8 bits"),
    IS_TRANSPARENT: _("its transparent areas are put on white"),
    "W4135": _("only its first frame or page is used"),
    "W4136": _("it is turned upright, as its EXIF orientation says"),
    "W4137": _("its colours are converted to sRGB from the colour profile in the file"),
    "W4138": _("its colour profile is damaged, or is not for its colours, and is ignored"),
}
_ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "TIFF", "AVIF", "HEIF")


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What is known about an image file that was decoded completely."""

    width: int  # upright
    height: int
    thumbnail: bytes  # 8 × 8 RGB pixels
    measures: Measures
    fixes: tuple[str, ...] = ()  # codes of FIXES
    has_hole: bool = False  # a part of the file was never filled


def examine_image(path: Path, use_whole: Callable[[UprightImage], object] = lambda _upright: None) -> ImageInfo:
    """Decode an image file completely, a large JPEG at a fraction of its size, which is faster.  Raises BadImage.

    `use_whole` is given the image of each other format, which is not to be decoded a second time.
    """
    with open_image(path) as image:
        width, height = image.size
        _check_size(width, height)
        check_for_use(image)
        fixes = list(_find_fixes(image, path))
        image.draft(None, _scale_to_side(image.size, MEASURED_SIDE))  # for a JPEG; all of its data is still read
        with PIXEL_BUDGET.reserve(image.width * image.height):
            load_pixels(image, path)
            if _is_transparent(image):
                fixes.append(IS_TRANSPARENT)
            upright = UprightImage.of(image)
            if upright.orientation > 1:
                fixes.append("W4136")
            if upright.orientation > 4:
                width, height = height, width
            small = reduce_on_white(upright, MEASURED_SIDE)
            if image.format not in FORMATS_WITH_FRACTIONS:
                use_whole(upright)
        is_holed = has_hole(image, path)
    return ImageInfo(width, height, make_thumbnail(small), measure_image(small), tuple(sorted(fixes)), is_holed)


def make_preview(path: Path, side: int) -> Image.Image:
    """A small upright RGB image for people to look at, at most `side` pixels wide and high.  Raises BadImage."""
    with open_image(path) as image:
        image.draft(None, _scale_to_side(image.size, side))
        with PIXEL_BUDGET.reserve(image.width * image.height):
            load_pixels(image, path)
            small = reduce_on_white(UprightImage.of(image), side)
    small.thumbnail((side, side))
    return small


def _has_trailing_data(image_format: str, path: Path) -> bool:
    """Whether something follows the image; MPO files, of phones, are several images by design, and do not count.

    BadImage for a PNG without an end: it was cut off, though perhaps after its pixels.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if image_format == "JPEG":
            file.seek(max(0, size - _TAIL_BYTES))
            return not file.read().rstrip(_PADDING).endswith(_JPEG_END)
        end = _find_png_end(file) if image_format == "PNG" else _find_webp_end(file) if image_format == "WEBP" else size
        file.seek(end)
        return bool(file.read(_TAIL_BYTES).strip(_PADDING))


def _find_png_end(file: BinaryIO) -> int:
    """Where the last chunk ends, with its checksum.  BadImage if there is none."""
    *_others, (_name, start, length) = read_png_chunks(file)
    return start + length + 4


def _find_webp_end(file: BinaryIO) -> int:
    file.seek(4)
    return 8 + int.from_bytes(file.read(4), "little")


def _is_transparent(image: Image.Image) -> bool:
    """Whether a pixel is not opaque; many images have an alpha channel that is opaque everywhere."""
    if not image.has_transparency_data:
        return False
    alpha = read_alpha(UprightImage(image))
    lowest = alpha.getextrema()[0] if alpha else 255
    return isinstance(lowest, float | int) and lowest < 255


def _check_size(width: int, height: int) -> None:
    """BadImage E4111 for a strip, E4110 for an image that is too small to train on."""
    if max(width, height) > _MAX_ASPECT_RATIO * min(width, height):
        template = _("it has {width} × {height} pixels; crop it so that one side is at most {ratio} times the other")
        raise BadImage("E4111", template, width=width, height=height, ratio=_MAX_ASPECT_RATIO)
    if min(width, height) < _MIN_SIDE_PIXELS:
        template = _("it has {width} × {height} pixels; each side needs at least {minimum}")
        raise BadImage("E4110", template, width=width, height=height, minimum=_MIN_SIDE_PIXELS)


def _find_fixes(image: Image.Image, path: Path) -> Iterator[str]:
    """What loading the image changes, as far as its header and the end of its file say."""
    if _has_trailing_data(image.format or "", path):
        yield "W4130"
    if image.mode == "CMYK":
        yield "W4132"
    if is_sixteen_bit(image):
        yield "W4133"
    if image.format in _ANIMATED_FORMATS and getattr(image, "is_animated", False):
        yield "W4135"
    if profile := image.info.get("icc_profile"):
        yield from _find_profile_fixes(image, profile)


def _find_profile_fixes(image: Image.Image, content: bytes) -> Iterator[str]:
    """What is done with a colour profile; sRGB on a grey image changes nothing, and many programs write that."""
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(content))
        is_srgb = "srgb" in ImageCms.getProfileDescription(profile).lower()
    except (ImageCms.PyCMSError, OSError):
        yield "W4138"
        return
    is_grey = image.mode in ("1", "L", "LA") or is_sixteen_bit(image)
    space = "CMYK" if image.mode == "CMYK" else "GRAY" if is_grey else "RGB"
    if profile.profile.xcolor_space.strip() == space:
        yield from () if is_srgb else ("W4137",)
    elif not (is_grey and is_srgb):
        yield "W4138"


def _scale_to_side(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size with its shorter side scaled down to `side`."""
    scale = min(1.0, side / min(size))
    return round(size[0] * scale), round(size[1] * scale)
