"""Examine an image file in one decoding: its size, what loading it changes, its measures, a thumbnail to compare."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageCms

from tetrad.images.concurrency import PIXEL_BUDGET
from tetrad.images.load import (
    BadImage,
    apply_exif_orientation,
    check_for_use,
    is_sixteen_bit,
    open_image,
    read_exif_orientation,
    to_eight_bit,
)
from tetrad.images.measure import MEASURED_SIDE, Measures, measure_image
from tetrad.images.near_duplicates import make_thumbnail
from tetrad.locales import _

_MIN_SIDE_PIXELS = 64  # below, an image would be enlarged eight times for a resolution of 512
_MAX_ASPECT_RATIO = 10  # buckets reach 4:1, so more than half of a longer strip would be cropped
_END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xae\x42\x60\x82"}
_PADDING, _TAIL_BYTES = b"\0\r\n ", 4096  # what other programs put after the end, without a meaning
# What is changed when an image is loaded; the file itself stays as it is.
FIXES = {
    "W4130": _("it has other data after the end of the image, which is left out"),
    "W4132": _("its CMYK colours are converted to RGB"),
    "W4133": _("its 16-bit levels are scaled to 8 bits"),
    "W4134": _("its transparent areas are put on white"),
    "W4135": _("only its first frame or page is used"),
    "W4136": _("it is turned upright, as its EXIF orientation says"),
    "W4137": _("its colours are converted to sRGB from the colour profile in the file"),
    "W4138": _("its colour profile is damaged and ignored"),
}
_ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "TIFF", "AVIF", "HEIF")


@dataclass(frozen=True)
class ImageInfo:
    """What is known about an image file that was decoded completely."""

    width: int  # upright
    height: int
    thumbnail: bytes  # 8 × 8 RGB pixels
    measures: Measures
    fixes: tuple[str, ...] = ()  # codes of FIXES


def examine_image(path: Path) -> ImageInfo:
    """Decode an image file completely, a large JPEG at a fraction of its size, which is faster.  Raises BadImage."""
    with open_image(path) as image:
        width, height = image.size
        _check_size(width, height)
        check_for_use(image)
        fixes = list(_find_fixes(image, path))
        image.draft(None, _scale_to_side(image.size, MEASURED_SIDE))  # for a JPEG; all of its data is still read
        with PIXEL_BUDGET.reserve(image.width * image.height):
            image.load()
            if _is_transparent(image):
                fixes.append("W4134")
            upright = apply_exif_orientation(image)
            if upright is not image:
                fixes.append("W4136")
                if read_exif_orientation(image) > 4:
                    width, height = height, width
            small = _reduce_on_white(upright)
    return ImageInfo(width, height, make_thumbnail(small), measure_image(small), tuple(sorted(fixes)))


def make_preview(path: Path, side: int) -> Image.Image:
    """A small upright RGB image for people to look at, at most `side` pixels wide and high.  Raises BadImage."""
    with open_image(path) as image:
        image.draft(None, _scale_to_side(image.size, side))
        with PIXEL_BUDGET.reserve(image.width * image.height):
            image.load()
            small = _reduce_on_white(apply_exif_orientation(image), side)
    small.thumbnail((side, side))
    return small


def _has_trailing_data(image_format: str, path: Path) -> bool:
    """Whether something follows the image; MPO files, of phones, are several images by design, and do not count."""
    if image_format not in _END_MARKERS:
        return False
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return not file.read().rstrip(_PADDING).endswith(_END_MARKERS[image_format])


def _is_transparent(image: Image.Image) -> bool:
    """Whether a pixel is not opaque; many images have an alpha channel that is opaque everywhere."""
    if not image.has_transparency_data:
        return False
    alpha = image if "A" in image.getbands() else image.convert("RGBA")
    lowest = alpha.getchannel("A").getextrema()[0]
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
        try:
            name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError):
            yield "W4138"
        else:
            if "srgb" not in name.lower():
                yield "W4137"


def _scale_to_side(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size with its shorter side scaled down to `side`."""
    scale = min(1.0, side / min(size))
    return round(size[0] * scale), round(size[1] * scale)


def _reduce_on_white(image: Image.Image, side: int = MEASURED_SIDE) -> Image.Image:
    """An image as RGB on white, reduced by a whole number to a shorter side of `side` pixels or somewhat more."""
    mode = "RGBA" if image.has_transparency_data else "RGB"
    image = to_eight_bit(image)
    image = image if image.mode == mode else image.convert(mode)
    small = image.reduce(max(1, min(image.size) // side))
    if mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
    return small
