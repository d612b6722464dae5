"""One picture: from a file of any common kind to upright sRGB, to a bucket's size, to a tensor and back."""

import codecs
import os
import re
import warnings
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image, ImageCms, UnidentifiedImageError
from torch import Tensor

# Only these decoders are ever reached, whatever a file calls itself.
READABLE = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
SMALLEST_SIDE = 16
TOO_MANY_PIXELS = 100_000_000

# What cannot be read, with what a person can do about it.
HEIC = ("E4107", "HEIC pictures cannot be read here; save it as JPEG (an iPhone does so by itself when it exports)")
JPEG_XL = ("E4108", "JPEG XL pictures cannot be read here; save it as PNG or JPEG")
DOCUMENT = ("E4109", "drawings, layered files and documents cannot be read here; save it as PNG or JPEG")
RAW = ("E4109", "a camera's raw files and scientific formats cannot be read here; save it as PNG or JPEG")
CUT_OFF = ("E4102", "the file is cut off before its picture ends; copy it again from where it came")

IMPOSTORS = (
    (rb"version https://git-lfs", "E4105", "the file is a git-lfs placeholder; run `git lfs pull` where it came from"),
    (rb"\s*(<\?xml.{,400})?(<!doctype svg.{,400})?<svg", *DOCUMENT),
    (rb"\s*(<!doctype html|<html|<head)", "E4104", "a web page was saved instead of the picture; save that itself"),
    (rb"%PDF|%!PS|\xc5\xd0\xd3\xc6|8BPS", *DOCUMENT),
    (rb"SIMPLE  =|DDS ", *RAW),
    (rb".{4}ftyp(hei|hev|mif1|msf1)", *HEIC),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", *JPEG_XL),
)

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION = 0x0112  # the EXIF tag
SIXTEEN_BIT = ("I;16", "I;16L", "I;16B")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", *SIXTEEN_BIT)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


class BadImage(Exception):
    """A file that no picture can be had from; the reason is a whole clause, for a person."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


def load(path: Path) -> Image.Image:
    """The picture in a file: upright, sRGB, on white where it is transparent, the first frame.  Raises BadImage."""
    image = on_white(upright(path))
    image.info.clear()  # the profile and the EXIF spoke of the pixels as they were
    return image


def upright(path: Path) -> Image.Image:
    """The picture in a file, decoded to its last pixel and turned upright, its colours as they are in the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of broken EXIF and large pictures, which are judged here
        try:
            with Image.open(path, formats=READABLE) as opened:
                check_header(opened)
                opened.load()
                return turned(opened)
        except BadImage:
            raise
        except Image.DecompressionBombError as error:
            raise BadImage("E4112", "it has over 100 megapixels; save it smaller") from error
        except Exception as error:  # on damaged bytes the decoders raise a dozen kinds; whichever, there is no picture
            raise diagnosis(path, error) from error


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The centre of a picture, as much of it as has the shape of `size` (width, height), at exactly that size."""
    scale = max(size[0] / image.width, size[1] / image.height)
    width, height = min(size[0] / scale, image.width), min(size[1] / scale, image.height)
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return image.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))


def framing(original: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int, int, int]:
    """What `fit` does to a picture (both width, height), as SDXL reads it: height before width, top before left.

    Original size, then where the crop begins in the picture once it is scaled, then the size it gets.
    [Podell et al. 2023, section 2.2]
    """
    scale = max(size[0] / original[0], size[1] / original[1])
    left, top = (round((original[side] * scale - size[side]) / 2) for side in (0, 1))
    return original[1], original[0], top, left, size[1], size[0]


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB picture as float32 (3, height, width) in 0…1."""
    levels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return levels.view(image.height, image.width, 3).permute(2, 0, 1).float().contiguous() / 255


def to_grey(image: Image.Image) -> Tensor:
    """A grey picture as float32 (1, height, width) in 0…1."""
    levels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return levels.view(1, image.height, image.width).float() / 255


def to_image(tensor: Tensor) -> Image.Image:
    """The picture of a tensor (3, height, width) in 0…1; what is outside is clamped."""
    levels = (tensor.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    height, width = levels.shape[1:]
    return Image.frombytes("RGB", (width, height), levels.permute(1, 2, 0).contiguous().cpu().numpy().tobytes())


def check_header(image: Image.Image) -> None:
    """Refuse by what the header says, before memory is spent on pixels."""
    width, height = image.size
    if width * height >= TOO_MANY_PIXELS:
        raise BadImage("E4112", f"it has {width} × {height} pixels, of at most 100 megapixels; save it smaller")
    if min(width, height) < SMALLEST_SIDE:
        raise BadImage("E4110", f"it has {width} × {height} pixels; both sides need {SMALLEST_SIDE}")
    if image.mode not in MODES:
        raise BadImage("E4109", f"its pixels are of a kind ({image.mode}) that is not read; save it with 8-bit colours")


def turned(image: Image.Image) -> Image.Image:
    """A picture turned as its EXIF says."""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow's EXIF reader raises as many kinds as EXIF can be broken in; the pixels are still good
        turn = None
    return image if turn is None else image.transpose(turn)


def on_white(image: Image.Image) -> Image.Image:
    """Any picture as sRGB, with white behind what is transparent.

    Colours and alpha are taken apart first: alpha has no profile, and a colour that is hidden must not shine through.
    """
    profile = image.info.get("icc_profile")
    if image.mode in SIXTEEN_BIT:
        image = eight_bit(image)
    grey = image.mode in ("1", "L", "LA")
    if not image.has_transparency_data:
        return srgb(image if image.mode in ("CMYK", "RGB") else image.convert("L" if grey else "RGB"), profile)
    image = image.convert("LA" if grey else "RGBA")
    colours = srgb(image.convert("L" if grey else "RGB"), profile)
    return Image.composite(colours, Image.new("RGB", image.size, "white"), image.getchannel("A"))


def eight_bit(image: Image.Image) -> Image.Image:
    """A 16-bit grey picture with its whole range kept; Pillow's own conversion makes all above 255 white."""
    return image.convert("I").point(lambda level: level * (1 / 257) + 0.5).convert("L")


def srgb(colours: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours (L, RGB or CMYK) as sRGB by their ICC profile, or plainly where there is none that can be used."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(colours, source, SRGB, outputMode="RGB")
            assert converted is not None  # it is None only for inPlace
            return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # a corrupt profile, or one for other channels: viewers do without it too
    return colours.convert("RGB")


def diagnosis(path: Path, error: Exception) -> BadImage:
    """Why a file could not be decoded, by what its bytes look like."""
    try:
        with path.open("rb") as opened:
            start = opened.read(1024)
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - 64))
            end = opened.read()
    except OSError as unreadable:
        return BadImage("E4120", f"it cannot be read ({unreadable.strerror}); see that you may open it")
    if not start:
        return BadImage("E4101", "the file is empty; copy it again from where it came")
    for pattern, code, reason in IMPOSTORS:
        if re.match(pattern, start.removeprefix(b"\xef\xbb\xbf"), re.IGNORECASE | re.DOTALL):
            return BadImage(code, reason)
    if ends_early(start, end, size) or "truncated" in str(error).lower():
        return BadImage(*CUT_OFF)
    if isinstance(error, UnidentifiedImageError):
        guess = "looks like text" if looks_like_text(start) else f"begins with {ascii(start[:8])[1:]}"
        return BadImage("E4103", f"it is not a picture (it {guess}); put the picture itself there")
    return BadImage("E4106", f"its data are damaged ({error}); copy it again from where it came")


def ends_early(start: bytes, end: bytes, size: int) -> bool:
    """Whether a file stops before the end that its own format gives it."""
    match start[:2]:
        case b"\x89P":
            return b"IEND" not in end
        case b"\xff\xd8":
            return b"\xff\xd9" not in end
        case b"GI":
            return not end.endswith(b";")
        case b"RI":
            return size < 8 + int.from_bytes(start[4:8], "little")
        case b"BM":
            return size < int.from_bytes(start[2:6], "little")
    return start[4:8] == b"ftyp" and size < boxes_end(start)


def boxes_end(start: bytes) -> int:
    """Where the boxes of an AVIF file end, as far as its beginning tells; each has its length in front."""
    end = 0
    while length := int.from_bytes(start[end : end + 4]):
        end += length
    return end


def looks_like_text(start: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)  # it may stop amid a letter
    except UnicodeDecodeError:
        return False
    return len(text) > 1 and all(letter.isprintable() or letter.isspace() for letter in text)
