"""Loss masks: the weight of each latent position, from a mask file next to the image or from its transparency."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from tetrad.data.dataset import Photo
from tetrad.data.discover.image_files import IMAGE_SUFFIXES, get_mask_path
from tetrad.data.fitted_images import CACHE_VERSION
from tetrad.data.latent_cache import LatentCache
from tetrad.errors import TetradError
from tetrad.formats.file_hashes import compute_file_hash
from tetrad.images.bands import UprightImage, read_alpha
from tetrad.images.diagnosis import BadImage
from tetrad.images.examine import IS_TRANSPARENT
from tetrad.images.load import decode_upright, fit_to_size
from tetrad.images.tensors import grey_to_tensor
from tetrad.locales import _
from tetrad.paths import expand_path


def load_masks(
    photo: Photo,
    size: tuple[int, int],
    latent_size: tuple[int, int],
    cache: LatentCache,
    flip: bool,
    decode: Callable[[], UprightImage],
    mask_path: Path | None = None,
) -> tuple[Tensor, ...]:
    """The loss mask of a photo at latent size, (1, h, w) in 0…1: upright and, with `flip`, mirrored.

    () if the mask has the same value everywhere: images that are opaque or transparent everywhere have no mask.
    `size` (width, height) is the photo's bucket size, `latent_size` is (h, w); `decode` gives the image. Masks
    are cached. Raises E4162 for a bad mask file.
    """
    mask_path = mask_path or get_mask_path(photo.path)
    parts = [CACHE_VERSION, photo.file_hash, _hash_if_present(mask_path), size, latent_size]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    tensors = cache.get_tensors("masks", key)
    if tensors is None:
        tensors = {"mask": _make_latent_mask(photo, mask_path, size, latent_size, decode)}
        cache.put_tensors("masks", key, tensors)
    latent_mask = tensors["mask"]
    return (latent_mask, latent_mask.flip(-1))[: 1 + flip] if latent_mask.numel() else ()


def find_mask(image: Path, folder: str) -> Path:
    """The mask of an image in a folder of masks: the image file of the same name.  E4162 where there is none."""
    masks = expand_path(folder)
    found = [path for suffix in sorted(IMAGE_SUFFIXES) if (path := masks / f"{image.stem}{suffix}").is_file()]
    if not found:
        template = _("there is no mask {name} in {folder} for the image {image}; add it, or leave out data.masks")
        raise TetradError("E4162", template, name=f"{image.stem}.png", folder=masks, image=image.name)
    return found[0]


def _hash_if_present(path: Path) -> str:
    """sha256 of a file; "" if it cannot be read."""
    try:
        return compute_file_hash(path)
    except OSError:
        return ""


def _make_latent_mask(
    photo: Photo,
    mask_path: Path,
    size: tuple[int, int],
    latent_size: tuple[int, int],
    decode: Callable[[], UprightImage],
) -> Tensor:
    """The mask at latent size, (1, h, w); (1, 0, 0) if there is no mask or it is the same everywhere."""
    full_mask = _read_mask(photo, mask_path, decode)
    if full_mask is not None:
        small_mask = fit_to_size(full_mask, size).resize(latent_size[::-1], Image.Resampling.BOX)
        lowest, highest = small_mask.getextrema()
        if lowest != highest:
            return grey_to_tensor(small_mask)
    return torch.zeros(1, 0, 0)


def _read_mask(photo: Photo, mask_path: Path, decode: Callable[[], UprightImage]) -> Image.Image | None:
    """The mask file of a photo (white counts), or else its alpha channel, in grey and at the photo's size."""
    if mask_path.is_file():
        try:
            return decode_upright(mask_path).convert("L").resize((photo.width, photo.height))
        except BadImage as error:
            raise TetradError(
                "E4162", _("the mask {path} cannot be used: {reason}"), path=mask_path, reason=error.reason
            ) from error
    return read_alpha(decode()) if IS_TRANSPARENT in photo.info.fixes else None
