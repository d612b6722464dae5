"""How much each place of a picture counts in the loss: its transparency, or the mask that lies beside it."""

import hashlib
import json
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from tetrad.data.cache import CODE_VERSION, Cache
from tetrad.data.folder import Photo
from tetrad.data.images import BadImage, fit, to_grey, upright
from tetrad.data.listing import mask_of
from tetrad.errors import TetradError
from tetrad.formats.files import file_hash


def masks(
    photo: Photo, size: tuple[int, int], latents: tuple[int, int], cache: Cache, flip: bool = False
) -> tuple[Tensor, ...]:
    """How much a photo counts at each place of its latents (h, w), 0…1, (1, h, w): upright and, with `flip`, mirrored.

    Nothing where it is everywhere the same, so that neither a picture without transparency nor one that is all
    transparent has a mask. `size` (width, height) is what the photo was fitted to. Each is made once and kept in the
    cache. Raises E4162 for a bad mask file.
    """
    parts = [CODE_VERSION, photo.digest, digest(mask_of(photo.path)), size, latents]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    found = cache.tensors("masks", key)
    if found is None:
        found = {"mask": fitted(photo, size, latents)}
        cache.keep("masks", key, found)
    upright = found["mask"]
    return (upright, upright.flip(-1))[: 1 + flip] if upright.numel() else ()


def digest(path: Path) -> str:
    """sha256 of a file, "" where there is none to read."""
    try:
        return file_hash(path)
    except OSError:
        return ""


def fitted(photo: Photo, size: tuple[int, int], latents: tuple[int, int]) -> Tensor:
    """A photo's mask at the size of its latents, (1, h, w); of no size where it says nothing."""
    whole = mask(photo)
    if whole is not None:
        seen = fit(whole, size).resize(latents[::-1], Image.Resampling.BOX)
        lowest, highest = seen.getextrema()
        if lowest != highest:
            return to_grey(seen)
    return torch.zeros(1, 0, 0)


def mask(photo: Photo) -> Image.Image | None:
    """OneTrainer's mask beside a photo (white counts), or else how opaque it is, in grey and the photo's size."""
    beside = mask_of(photo.path)
    if beside.is_file():
        try:
            return upright(beside).convert("L").resize((photo.width, photo.height))
        except BadImage as bad:
            raise TetradError("E4162", f"the mask {beside} cannot be used: {bad.reason}") from bad
    image = upright(photo.path)
    return image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
