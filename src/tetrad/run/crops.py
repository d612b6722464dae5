"""The images that a VAE's decoder is trained on, as crops, and those that it is measured with."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from PIL import Image
from torch import Tensor

from tetrad.data.dataset import Photo
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.images.diagnosis import BadImage
from tetrad.images.load import load_image
from tetrad.images.tensors import to_tensor
from tetrad.locales import _
from tetrad.settings.vae_decoder import DecoderTrain

_HELD_OUT_FROM, _HELD_OUT_EVERY = 20, 10  # from 20 images on, every tenth is held out for measuring
_MAX_MEASURED, _MAX_MEASURED_SIDE = 8, 512  # at most so many images are measured, and so many pixels of each side
_MAX_DECODED = 64  # decoded images kept in memory


def split_photos(photos: Sequence[Photo]) -> tuple[list[Photo], list[Photo]]:
    """The photos to train on and those to measure with, which are held out of training if there are enough."""
    if len(photos) < _HELD_OUT_FROM:
        return list(photos), list(photos[:_MAX_MEASURED])
    held_out = list(photos[::_HELD_OUT_EVERY][:_MAX_MEASURED])
    return [photo for photo in photos if photo not in held_out], held_out


class Crops:
    """The crops of each step, which depend on the seed and the step alone; decoded images are cached."""

    def __init__(self, photos: Sequence[Photo], settings: DecoderTrain) -> None:
        self.photos = photos
        self.settings = settings
        self.image = lru_cache(maxsize=_MAX_DECODED)(lambda number: _load_photo(photos[number]))

    def __call__(self, step: int) -> Tensor:
        rng = generator(self.settings.seed, step, "crops")
        return torch.stack([self.crop(rng) for _ in range(self.settings.batch_size)])

    def crop(self, rng: torch.Generator) -> Tensor:
        """One crop (3, side, side) in 0…1 of a random image, mirrored half of the time."""
        chosen, left, top, mirrored = torch.rand(4, generator=rng).tolist()
        image, side = self.image(int(chosen * len(self.photos))), self.settings.crop
        x, y = int(left * (image.width - side + 1)), int(top * (image.height - side + 1))
        pixels = to_tensor(image.crop((x, y, x + side, y + side)))
        return pixels.flip(-1) if mirrored < 0.5 else pixels


def _load_photo(photo: Photo) -> Image.Image:
    """The decoded image of a photo.  E4161 where it cannot be read any more."""
    try:
        return load_image(photo.path)
    except (BadImage, OSError) as error:
        raise TetradError(
            "E4161",
            _("{path} could be read at the start of the run, but not any more: {reason}"),
            path=photo.path,
            reason=error,
        ) from error


def crop_center(photo: Photo) -> Tensor:
    """The center of an image (3, H, W) in 0…1, at most MAX_MEASURED_SIDE on a side."""
    image = _load_photo(photo)
    width, height = (min(side, _MAX_MEASURED_SIDE) // 8 * 8 for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return to_tensor(image.crop((left, top, left + width, top + height)))
