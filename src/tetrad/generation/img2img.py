"""Images to start from (img2img) and masks (inpainting): load, check and fit them."""

import hashlib
import math
from pathlib import Path

import torch
from PIL import Image, ImageFilter
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.generation.request import InitImage, Request
from tetrad.given_paths import INIT_IMAGE_LABEL, MASK_LABEL
from tetrad.images import BadImage, load, tensors
from tetrad.locales import Message, _
from tetrad.paths import expand_path

DEFAULT_STRENGTH = 0.6  # denoising strength
DEFAULT_MASK_BLUR = 4  # pixels
MAX_DEFAULT_PIXELS = 1024 * 1024  # an init image larger than this is reduced, unless a size is given


def load_init_image(image_path: Path, mask_path: Path | None, mask_blur: int, request: Request) -> InitImage:
    """Load an image and a mask for `make_init_image`.  E3251 where one of them cannot be read."""
    image = load_image(image_path, INIT_IMAGE_LABEL)
    mask = load_image(mask_path, MASK_LABEL) if mask_path else None
    return make_init_image(image, mask, mask_blur, request)


def make_init_image(image: Image.Image, mask: Image.Image | None, mask_blur: int, request: Request) -> InitImage:
    """Fit an image and its mask to the request's size, or to the image's own if the request has none.

    The mask's edge is blurred by `mask_blur` pixels. E3251 where the mask has another aspect ratio, or is black.
    """
    width, height = default_size(image)
    size = (request.width or width, request.height or height)
    pixels = tensors.to_tensor(load.fit_to_size(image.convert("RGB"), size))
    if mask is None:
        return InitImage(pixels)
    if abs(mask.width * image.height - image.width * mask.height) > max(*mask.size, *image.size):
        raise TetradError(
            "E3251",
            _("the mask is {mask} and the init image is {image}; the mask must have the same aspect ratio"),
            mask=f"{mask.width}x{mask.height}",
            image=f"{image.width}x{image.height}",
        )
    mask_pixels = blur_mask(mask, mask_blur, size)
    if mask_pixels.max() < 0.5:
        raise TetradError(
            "E3251", _("the mask is completely black, so nothing would be generated; paint the area to replace white")
        )
    return InitImage(pixels, mask_pixels, mask_blur)


def blur_mask(mask: Image.Image, mask_blur: int, size: tuple[int, int]) -> Tensor:
    """A mask image as (1, H, W) in [0, 1], 1 where it is white."""
    grey_mask = load.fit_to_size(mask.convert("RGB"), size).convert("L").filter(ImageFilter.GaussianBlur(mask_blur))
    pixel_values = torch.frombuffer(bytearray(grey_mask.tobytes()), dtype=torch.uint8)
    return pixel_values.view(1, grey_mask.height, grey_mask.width).float() / 255


def require_init_image(image: object, mask: object, denoising_strength: object) -> None:
    """E3206 where a mask or a denoising strength is given without an init image."""
    if image is None and mask is not None:
        raise TetradError(
            "E3206", _("a mask needs an image to start from; give one with --init-image (init_image in Python)")
        )
    if image is None and denoising_strength is not None:
        raise TetradError(
            "E3206",
            _("a denoising strength needs an image to start from; give one with --init-image (init_image in Python)"),
        )


def image_hash(pixels: Tensor) -> str:
    """A1111's hash of an image (C, H, W) in [0, 1]: md5 of its bytes, row by row."""
    return hashlib.md5((pixels * 255).round().byte().permute(1, 2, 0).contiguous().numpy().tobytes()).hexdigest()


def default_size(image: Image.Image) -> tuple[int, int]:
    """The image's size in multiples of 8, reduced to MAX_DEFAULT_PIXELS."""
    scale = min(1.0, math.sqrt(MAX_DEFAULT_PIXELS / (image.width * image.height)))
    return max(8, int(image.width * scale) // 8 * 8), max(8, int(image.height * scale) // 8 * 8)


def load_image(path: Path, label: Message) -> Image.Image:
    """Load an image file.  E3251 where it cannot be read; `label` says in the error what it was to be used for."""
    template = _("{label} {path} cannot be read: {reason}")
    if not expand_path(path).exists():
        raise TetradError("E3251", template, label=label, path=path, reason=Message(_("the file does not exist")))
    try:
        return load.load_image(expand_path(path))
    except (BadImage, OSError) as error:
        reason = getattr(error, "reason", error)
        raise TetradError("E3251", template, label=label, path=path, reason=reason) from error
