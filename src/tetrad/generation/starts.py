"""Pictures to begin from, and where they are drawn anew."""

import hashlib
import math
from pathlib import Path

import torch
from PIL import Image, ImageFilter
from torch import Tensor

from tetrad.data import images
from tetrad.errors import TetradError
from tetrad.generation.request import Request, Start

STRENGTH = 0.6  # where nothing is said of it
BLUR = 4
PIXELS = 1024 * 1024  # where no size is asked for, a larger picture is drawn at about so many


def opened(image: Path, mask: Path | None, blur: int, request: Request) -> Start:
    """A picture file, and a mask file, at the request's size; where it asks for none, at the picture's own.

    E3251 where one of them cannot be read.
    """
    picture = loaded(image, "drawn over")
    size = own_size(picture)
    size = (request.width or size[0], request.height or size[1])
    return start(picture, loaded(mask, "used as a mask") if mask else None, blur, size)


def start(picture: Image.Image, mask: Image.Image | None, blur: int, size: tuple[int, int]) -> Start:
    """A picture and its mask fitted to (width, height); the mask's edge softened over `blur` pixels.

    E3251 where the mask is not of the picture's shape, or shows nothing.
    """
    drawn_over = images.to_tensor(images.fit(picture.convert("RGB"), size))
    if mask is None:
        return Start(drawn_over)
    if abs(mask.width * picture.height - picture.width * mask.height) > max(*mask.size, *picture.size):
        sizes = f"{mask.width}x{mask.height}, the picture {picture.width}x{picture.height}"
        raise TetradError("E3251", f"the mask has another shape than the picture: it is {sizes}; make both alike")
    softened = soft(mask, blur, size)
    if softened.max() < 0.5:
        raise TetradError("E3251", "the mask is black all over, so nothing would be drawn; what is white is drawn anew")
    return Start(drawn_over, softened, blur)


def soft(mask: Image.Image, blur: int, size: tuple[int, int]) -> Tensor:
    """Where a mask is white, (1, H, W) in 0…1."""
    fitted = images.fit(mask.convert("RGB"), size).convert("L").filter(ImageFilter.GaussianBlur(blur))
    levels = torch.frombuffer(bytearray(fitted.tobytes()), dtype=torch.uint8)
    return levels.view(1, fitted.height, fitted.width).float() / 255


def check_needed(picture: object, mask: object, strength: object) -> None:
    """E3206 where a mask or a strength is given without the picture that it is for."""
    for what, value in (("a mask", mask), ("a strength", strength)):
        if picture is None and value is not None:
            raise TetradError("E3206", f"{what} is for a picture to draw over, and there is none; give it with --image")


def fingerprint(levels: Tensor) -> str:
    """What A1111 calls a picture (C, H, W) in 0…1 by: md5 of its bytes, row by row."""
    return hashlib.md5((levels * 255).round().byte().permute(1, 2, 0).contiguous().numpy().tobytes()).hexdigest()


def own_size(picture: Image.Image) -> tuple[int, int]:
    """A picture's size, a large one made smaller, in multiples of 8."""
    scale = min(1.0, math.sqrt(PIXELS / (picture.width * picture.height)))
    return max(8, int(picture.width * scale) // 8 * 8), max(8, int(picture.height * scale) // 8 * 8)


def loaded(path: Path, used: str) -> Image.Image:
    if not path.expanduser().exists():
        raise TetradError("E3251", f"{path} cannot be {used}: there is no such file")
    try:
        return images.load(path.expanduser())
    except (images.BadImage, OSError) as error:
        raise TetradError("E3251", f"{path} cannot be {used}: {getattr(error, 'reason', error)}") from error
