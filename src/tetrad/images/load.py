"""Load an image file as upright sRGB, and fit it to a bucket's size."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image, ImageCms, ImageOps

from tetrad.images.completeness import load_pixels
from tetrad.images.concurrency import SILENCED_WARNINGS
from tetrad.images.decoders import list_formats
from tetrad.images.diagnosis import BadImage, check_is_file, diagnose_file
from tetrad.images.jpeg_data import MAX_SCANS, has_too_many_scans
from tetrad.locales import _

_MIN_SIDE_PIXELS = 16
_PIXEL_LIMIT = 100_000_000

_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B")
_SUPPORTED_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", *_SIXTEEN_BIT_MODES)
_SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def load_image(path: Path) -> Image.Image:
    """Load the first frame of an image file: upright, sRGB, transparency on white.  Raises BadImage."""
    return to_srgb_on_white(decode_upright(path))


def decode_upright(path: Path) -> Image.Image:
    """Decode an image file completely and apply its EXIF orientation; colours stay as in the file."""
    with open_image(path) as image:
        check_for_use(image)
        load_pixels(image, path)
        upright = apply_exif_orientation(image)
        return upright if upright is not image else image.copy()  # without the decoder


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """An image file, its header read and its pixels not yet decoded.  The only place that opens images.

    Raises BadImage for a file that is damaged, too large, or of a format that Tetrad does not read; so does what is
    done with the image inside the `with` block.
    """
    check_is_file(path)
    with SILENCED_WARNINGS:  # Pillow warns about broken EXIF and large images; both are handled here
        try:
            with path.open("rb") as file, Image.open(file, formats=list_formats()) as image:
                _check_pixel_count(image)
                _check_scans(image, path)
                yield image
        except BadImage:
            raise
        except Image.DecompressionBombError as error:
            raise BadImage("E4112", _("it has more than 100 megapixels; save it smaller")) from error
        except Exception as error:  # decoders raise a dozen exception types on damaged files
            raise diagnose_file(path, error) from error


def fit_to_size(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Crop the centre of an image to the aspect ratio of `size` (width, height) and resize it to exactly that size."""
    return image.resize(size, Image.Resampling.LANCZOS, box=compute_crop(image.size, size))


def compute_crop(image_size: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The part of an image that `fit_to_size` keeps: left, top, right, bottom."""
    image_width, image_height = image_size
    scale = max(size[0] / image_width, size[1] / image_height)
    width, height = min(size[0] / scale, image_width), min(size[1] / scale, image_height)
    left, top = (image_width - width) / 2, (image_height - height) / 2
    return left, top, left + width, top + height


@lru_cache(10_000)  # so that a million images of a few sizes share them
def compute_micro_conditioning(
    original_size: tuple[int, int], target_size: tuple[int, int]
) -> tuple[int, int, int, int, int, int]:
    """SDXL's size conditioning for an image that `fit_to_size` changes; both sizes are (width, height).

    Original height and width, crop top and left in the scaled image, target height and width.
    [Podell et al. 2023, section 2.2]
    """
    scale = max(target_size[0] / original_size[0], target_size[1] / original_size[1])
    left, top = (round((original_size[side] * scale - target_size[side]) / 2) for side in (0, 1))
    return original_size[1], original_size[0], top, left, target_size[1], target_size[0]


def _check_pixel_count(image: Image.Image) -> None:
    """Check the size before the pixels are decoded, so that a huge image uses no memory."""
    width, height = image.size
    if width * height >= _PIXEL_LIMIT:
        raise BadImage(
            "E4112",
            _("it has {width} × {height} pixels, and the limit is 100 megapixels; save it smaller"),
            width=width,
            height=height,
        )


def _check_scans(image: Image.Image, path: Path) -> None:
    """Check how often the pixels of a JPEG are gone through, so that a small file does not take minutes."""
    if image.format in ("JPEG", "MPO") and has_too_many_scans(path.read_bytes()):
        template = _("its data is in more than {limit} scans, which no usual program writes; save it again")
        raise BadImage("E4106", template, limit=MAX_SCANS)


def check_for_use(image: Image.Image) -> None:
    """Check that an image is large enough and has colours that can be used."""
    width, height = image.size
    if min(width, height) < _MIN_SIDE_PIXELS:
        raise BadImage(
            "E4110",
            _("it has {width} × {height} pixels; each side needs at least {minimum}"),
            width=width,
            height=height,
            minimum=_MIN_SIDE_PIXELS,
        )
    if image.mode not in _SUPPORTED_MODES:
        raise BadImage(
            "E4109", _("its pixel format {mode} is not supported; save it with 8-bit colours"), mode=image.mode
        )


def apply_exif_orientation(image: Image.Image) -> Image.Image:
    """Rotate and mirror an image as its EXIF orientation says; the image itself where it is upright."""
    try:
        return ImageOps.exif_transpose(image) if read_exif_orientation(image) > 1 else image
    except Exception:  # broken EXIF raises many exception types; the pixels are still good
        return image


def read_exif_orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none.  Broken EXIF raises many exception types."""
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in range(1, 9) else 1


def to_srgb_on_white(image: Image.Image) -> Image.Image:
    """An image of any mode as sRGB on white, without the profile and EXIF, which describe the original pixels.

    It is the image itself where nothing has to be converted.
    """
    converted = _convert_on_white(image)
    converted.info = {}
    return converted


def _convert_on_white(image: Image.Image) -> Image.Image:
    """Colours and alpha are split first: alpha has no profile, and the colour of transparent pixels must not show."""
    profile = image.info.get("icc_profile")
    image = to_eight_bit(image)
    is_grey = image.mode in ("1", "L", "LA")
    if not image.has_transparency_data:
        return _convert_to_srgb(
            image if image.mode in ("CMYK", "RGB") else image.convert("L" if is_grey else "RGB"), profile
        )
    image = image.convert("LA" if is_grey else "RGBA")
    colours = _convert_to_srgb(image.convert("L" if is_grey else "RGB"), profile)
    return Image.composite(colours, Image.new("RGB", image.size, "white"), image.getchannel("A"))


def is_sixteen_bit(image: Image.Image) -> bool:
    return image.mode in _SIXTEEN_BIT_MODES


def to_eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion turns all levels above 255 white."""
    if not is_sixteen_bit(image):
        return image
    return image.convert("I").point(lambda level: level * (1 / 257) + 0.5).convert("L")


def _convert_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert L, RGB or CMYK to sRGB with the ICC profile, or without it if it is missing or unusable."""
    if profile:
        try:
            source_profile = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source_profile, _SRGB_PROFILE, outputMode="RGB")
            assert converted is not None  # it is None only for inPlace
            return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # a corrupt profile, or one for other channels: viewers ignore it too
    return image if image.mode == "RGB" else image.convert("RGB")
