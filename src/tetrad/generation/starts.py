"""Pictures to begin from, and where they are drawn anew."""

import math
from pathlib import Path

import torch
from PIL import Image, ImageFilter
from torch import Tensor

from tetrad.data import images
from tetrad.errors import TetradError
from tetrad.generation.request import Request, Start

PIXELS = 1024 * 1024  # where no size is asked for, a larger picture is drawn at about so many


def opened(image: Path, mask: Path | None, blur: int, request: Request) -> Start:
    """A picture file, and a mask file, at the request's size; where it asks for none, at the picture's own.

    E3251 where one of them cannot be read.
    """
    picture = loaded(image)
    size = own_size(picture)
    size = (request.width or size[0], request.height or size[1])
    return start(picture, loaded(mask) if mask else None, blur, size)


def start(picture: Image.Image, mask: Image.Image | None, blur: int, size: tuple[int, int]) -> Start:
    """A picture and its mask fitted to (width, height); the mask's edge softened over `blur` pixels."""
    drawn_over = images.to_tensor(images.fit(picture.convert("RGB"), size))
    return Start(drawn_over, None if mask is None else soft(mask, blur, size))


def soft(mask: Image.Image, blur: int, size: tuple[int, int]) -> Tensor:
    """Where a mask is white, (1, H, W) in 0…1."""
    fitted = images.fit(mask.convert("RGB"), size).convert("L").filter(ImageFilter.GaussianBlur(blur))
    levels = torch.frombuffer(bytearray(fitted.tobytes()), dtype=torch.uint8)
    return levels.view(1, fitted.height, fitted.width).float() / 255


def own_size(picture: Image.Image) -> tuple[int, int]:
    """A picture's size, a large one made smaller, in multiples of 8."""
    scale = min(1.0, math.sqrt(PIXELS / (picture.width * picture.height)))
    return max(8, int(picture.width * scale) // 8 * 8), max(8, int(picture.height * scale) // 8 * 8)


def loaded(path: Path) -> Image.Image:
    try:
        return images.load(path.expanduser())
    except (images.BadImage, OSError) as error:
        raise TetradError("E3251", f"{path} cannot be drawn over: {getattr(error, 'reason', error)}") from error
