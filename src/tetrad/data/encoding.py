"""Encode each image with the VAE once, and decode its file once, for its latents and its mask together."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from PIL import Image, ImageOps
from torch import Tensor

from tetrad.data.dataset import Photo
from tetrad.data.fitted_images import CACHE_VERSION
from tetrad.data.latent_cache import LatentCache, LatentDistribution, Latents
from tetrad.data.masks import load_masks
from tetrad.data.parallel import map_ahead
from tetrad.data.turns import take_turns
from tetrad.errors import TetradError
from tetrad.images.bands import UprightImage, decode_image, fit_on_white
from tetrad.images.concurrency import PIXEL_BUDGET
from tetrad.images.diagnosis import BadImage
from tetrad.images.tensors import to_tensor
from tetrad.locales import _

_PART = 256  # images that one of several processes encodes at a time
_ImageEncoder = Callable[[Tensor], tuple[Tensor, Tensor]]  # images (B, 3, H, W) in 0…1 → mean, std (B, C, h, w)


@dataclass(frozen=True, slots=True)
class EncodingJob:
    """A photo and the size (width, height) that it is encoded at."""

    photo: Photo
    size: tuple[int, int]
    flip: bool = False
    mask_size: tuple[int, int] | None = None  # (h, w) of its latents, where it is to have a loss mask
    mask_path: Path | None = None  # of its mask file; None: beside it, or else its transparency


@dataclass(frozen=True)
class EncodedPhoto:
    """The latents of a photo, upright and, if asked, mirrored, and the loss masks of both; () for no mask."""

    job: EncodingJob
    distributions: tuple[Latents, ...]
    masks: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class _LoadedPhoto:
    """What a photo's latents are made of: those that are cached, and the image where one is missing."""

    job: EncodingJob
    keys: tuple[str, ...]
    cached: tuple[Latents | None, ...]
    image: Image.Image | None
    masks: tuple[Tensor, ...]


def encode_photos(
    jobs: Sequence[EncodingJob],
    encode: _ImageEncoder,
    encoder_identity: str | Callable[[], str],
    cache: LatentCache,
) -> Iterator[EncodedPhoto]:
    """Each photo encoded, in order; images are decoded ahead in other threads.

    Each image is encoded by itself, so that cached latents never depend on the other images of a batch. Raises E4160
    if the encoder gives NaN or Inf, E4161 if a file changed after it was listed, E4162 for a bad mask file.
    """
    identity = encoder_identity if isinstance(encoder_identity, str) else encoder_identity()
    for loaded in map_ahead(partial(_load_photo, identity=identity, cache=cache), jobs):
        distributions: list[Latents] = []
        for flipped, (key, distribution) in enumerate(zip(loaded.keys, loaded.cached, strict=True)):
            if distribution is None:
                assert loaded.image is not None
                image = ImageOps.mirror(loaded.image) if flipped else loaded.image
                encoded = _encode_image(loaded.job.photo, image, encode)
                cache.put_latents(key, encoded)
                distribution = (cache.find_latents(key, loaded.job.size) if cache.records else None) or encoded
            distributions.append(distribution)
        yield EncodedPhoto(loaded.job, tuple(distributions), loaded.masks)


def encode_in_turns(
    jobs: Sequence[EncodingJob], encode: _ImageEncoder, encoder_identity: str | Callable[[], str], cache: LatentCache
) -> Iterator[int]:
    """Encode into the records of the cache what is not there, together with other processes that do the same.

    Yields the number of images that are finished, about. What the cache refuses is left to `encode_photos`, and so is
    everything in a folder without locks. Raises what `encode_photos` raises.
    """
    identity = encoder_identity if isinstance(encoder_identity, str) else encoder_identity()
    records = cache.records
    if records is None or cache.folder is None:
        return

    def is_done(part: Sequence[EncodingJob]) -> bool:
        records.refresh()
        return all(cache.has_latents(key) for job in part for key in _compute_keys(job, identity))

    def encode_part(part: Sequence[EncodingJob]) -> Iterator[object]:
        yield from encode_photos(part, encode, identity, cache)

    parts = [jobs[begin : begin + _PART] for begin in range(0, len(jobs), _PART)]
    named = [(f"{_compute_keys(part[0], identity)[0]} {len(part)}", part) for part in parts]
    with suppress(OSError):
        for finished in take_turns(cache.folder / "turns", named, is_done, encode_part):
            yield finished * _PART
            if cache.refused:
                return


def _compute_keys(job: EncodingJob, identity: str) -> tuple[str, ...]:
    """The keys of an image's latents, upright and, if asked, mirrored."""
    views = (False, True) if job.flip else (False,)
    return tuple(_compute_cache_key(job.photo.file_hash, job.size, flipped, identity) for flipped in views)


def _load_photo(job: EncodingJob, identity: str, cache: LatentCache) -> _LoadedPhoto:
    """Read a photo's latents and mask from the cache, or decode it to make them."""
    decoded = _DecodedPhoto(job)
    keys = _compute_keys(job, identity)
    cached = tuple(cache.find_latents(key, job.size) for key in keys)
    with PIXEL_BUDGET.reserve(job.photo.width * job.photo.height):
        image = None
        if None in cached:
            kept = cache.fitted.take(job.photo.file_hash, job.size)
            image = kept or fit_on_white(decoded.upright, job.size)
        masks = (
            load_masks(job.photo, job.size, job.mask_size, cache, job.flip, lambda: decoded.upright, job.mask_path)
            if job.mask_size
            else ()
        )
    return _LoadedPhoto(job, keys, cached, image, masks)


class _DecodedPhoto:
    """A photo's pixels, decoded when they are first needed.  E4161 if its file changed."""

    def __init__(self, job: EncodingJob) -> None:
        self.photo, self.size = job.photo, job.size

    @cached_property
    def upright(self) -> UprightImage:
        path = self.photo.path
        try:
            image = decode_image(path, self.size)
            with path.open("rb") as file:
                is_unchanged = hashlib.file_digest(file, "sha256").hexdigest() == self.photo.file_hash
        except (BadImage, OSError) as error:
            reason = error.reason if isinstance(error, BadImage) else error.strerror
            template = _("{path} changed after it was listed: {reason}")
            raise TetradError("E4161", template, path=path, reason=reason) from error
        if not is_unchanged:
            raise TetradError("E4161", _("{path} changed after it was listed; start the run again"), path=path)
        return image


def _compute_cache_key(file_hash: str, size: tuple[int, int], flip: bool, encoder_identity: str) -> str:
    """sha256 of everything that the latents depend on."""
    return hashlib.sha256(json.dumps([CACHE_VERSION, file_hash, size, flip, encoder_identity]).encode()).hexdigest()


def _encode_image(photo: Photo, image: Image.Image, encode: _ImageEncoder) -> LatentDistribution:
    mean, std = (part[0].detach().float().cpu().contiguous() for part in encode(to_tensor(image)[None]))
    if not (mean.isfinite().all() and std.isfinite().all()):
        raise TetradError(
            "E4160",
            _(
                "the latents of {path} contain NaN or Inf; use the VAE in float32, use another VAE, or remove this"
                " image"
            ),
            path=photo.path,
        )
    return LatentDistribution(mean, std)
