"""Convert a large image band by band, so that only its decoded pixels are in memory, and no second copy of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tetrad.images.load import (
    check_for_use,
    compute_crop,
    fit_to_size,
    open_image,
    read_exif_orientation,
    to_eight_bit,
    to_srgb_on_white,
)

_BAND_PIXELS = 4_000_000
_LARGE_PIXELS = 30_000_000  # up to which a second copy does no harm
FORMATS_WITH_FRACTIONS = ("JPEG", "MPO")  # Pillow decodes these at a half, a quarter or an eighth of their size
_DECODED_SCALE = 2  # how many times larger than it is used at an image is decoded at least, as in Pillow's thumbnails
# How an image of each EXIF orientation is turned upright.
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BACKWARDS = (3, 4, 7, 8)  # orientations in which the first upright row is the last row or column of the file


@dataclass(frozen=True)
class UprightImage:
    """A decoded image that is turned upright when a part of it is read."""

    image: Image.Image  # as in the file
    orientation: int = 1  # EXIF's, 1 to 8

    @classmethod
    def of(cls, image: Image.Image) -> "UprightImage":
        try:
            return cls(image, read_exif_orientation(image))
        except Exception:  # broken EXIF raises many exception types; the pixels are still good
            return cls(image)

    @property
    def size(self) -> tuple[int, int]:
        width, height = self.image.size
        return (height, width) if self.orientation > 4 else (width, height)

    def read_rows(self, start: int, end: int) -> Image.Image:
        """Some upright rows, as an image of their own in the file's colours."""
        width, height = self.image.size
        length = self.size[1]
        if self.orientation in _BACKWARDS:
            start, end = length - end, length - start
        box = (start, 0, end, height) if self.orientation > 4 else (0, start, width, end)
        rows = self.image.crop(box)
        return rows.transpose(_TRANSPOSITIONS[self.orientation]) if self.orientation > 1 else rows

    def convert(self, change: Callable[[Image.Image], Image.Image], step: int = 1) -> Iterator[tuple[int, Image.Image]]:
        """The image in bands of a multiple of `step` rows, each changed: its first row, and the changed band."""
        width, height = self.size
        rows = max(1, _BAND_PIXELS // (width * step)) * step
        for start in range(0, height, rows):
            yield start, change(self.read_rows(start, min(height, start + rows)))


def decode_image(path: Path, size: tuple[int, int] | None = None) -> UprightImage:
    """Decode an image file completely that was examined before.  Raises BadImage.

    With a size (width, height), which it will be fitted to, a large JPEG is decoded at a fraction of its own, which is
    faster and takes less memory; all of its data is still read.
    """
    with open_image(path) as image:
        check_for_use(image)
        if size and image.format in FORMATS_WITH_FRACTIONS:
            width, height = size if UprightImage.of(image).orientation <= 4 else size[::-1]
            image.draft(None, (_DECODED_SCALE * width, _DECODED_SCALE * height))
        image.load()
        return UprightImage.of(image)


def fit_on_white(upright: UprightImage, size: tuple[int, int]) -> Image.Image:
    """The image as sRGB on white, cropped and resized as `fit_to_size` does.

    A large one is resized to the width band by band, and then to the height. Pillow resizes some images to the height
    first, so that a large image may differ from its result by the rounding between the two.
    """
    if upright.size[0] * upright.size[1] <= _LARGE_PIXELS:
        return fit_to_size(to_srgb_on_white(upright.read_rows(0, upright.size[1])), size)
    left, top, right, bottom = compute_crop(upright.size, size)

    def narrow(band: Image.Image) -> Image.Image:
        box = (left, 0, right, band.height)
        return to_srgb_on_white(band).resize((size[0], band.height), Image.Resampling.LANCZOS, box=box)

    narrowed = Image.new("RGB", (size[0], upright.size[1]))
    for start, band in upright.convert(narrow):
        narrowed.paste(band, (0, start))
    return narrowed.resize(size, Image.Resampling.LANCZOS, box=(0, top, size[0], bottom))


def read_alpha(upright: UprightImage) -> Image.Image | None:
    """The opacity of each pixel, in grey; None for an image that has none."""
    if not upright.image.has_transparency_data:
        return None
    alpha = Image.new("L", upright.size)
    for start, band in upright.convert(lambda band: band.convert("RGBA").getchannel("A")):
        alpha.paste(band, (0, start))
    return alpha


def reduce_on_white(upright: UprightImage, side: int) -> Image.Image:
    """An image as RGB on white, reduced by a whole number to a shorter side of `side` pixels or somewhat more."""
    factor = max(1, min(upright.size) // side)
    width, height = (-(-length // factor) for length in upright.size)
    mode = "RGBA" if upright.image.has_transparency_data else "RGB"
    small = Image.new(mode, (width, height))
    for start, band in upright.convert(lambda band: _reduce(band, mode, factor), factor):
        small.paste(band, (0, start // factor))
    if mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
    return small


def _reduce(band: Image.Image, mode: str, factor: int) -> Image.Image:
    band = to_eight_bit(band)
    return (band if band.mode == mode else band.convert(mode)).reduce(factor)
