"""Aspect ratio buckets: the sizes that images are resized to, so that they can share a batch."""

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from math import ceil, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tetrad.data.dataset import Photo


def bucket_of(photo: "Photo", resolution: int) -> tuple[int, int]:
    """The size (width, height) at which a photo is used for training; its subset may have a resolution of its own."""
    return _select_size(photo.width, photo.height, photo.subset.resolution or resolution)


@lru_cache(10_000)
def _select_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    return select_bucket(width, height, make_bucket_sizes(resolution))


def count_batches(photos: Iterable["Photo"], resolution: int, batch_size: int) -> int:
    """Batches in an epoch; a batch never mixes buckets."""
    buckets: Counter[tuple[int, int]] = Counter()
    for photo in photos:
        buckets[bucket_of(photo, resolution)] += photo.subset.repeats
    return sum(-(-number // batch_size) for number in buckets.values())


def make_bucket_sizes(resolution: int, side_multiple: int | None = None) -> list[tuple[int, int]]:
    """Sizes (width, height) of at most resolution² pixels, with sides that are multiples of `side_multiple`.

    Sides are from half to twice the resolution, so aspect ratios from 1:4 to 4:1. The square is always included.
    """
    side_multiple = side_multiple or _get_default_side_multiple(resolution)
    assert resolution >= side_multiple, (resolution, side_multiple)
    max_side = 2 * resolution // side_multiple * side_multiple
    square_side = resolution // side_multiple * side_multiple
    bucket_sizes = {(square_side, square_side)}
    for width in range(ceil(resolution / 2 / side_multiple) * side_multiple, max_side + 1, side_multiple):
        height = min(resolution**2 // width // side_multiple * side_multiple, max_side)
        if height >= resolution / 2:
            bucket_sizes |= {(width, height), (height, width)}
    return sorted(bucket_sizes)


def select_bucket(width: int, height: int, sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """The size closest in aspect ratio, by the logarithm of width / height; of equally close ones, the larger."""

    def aspect_distance(size: tuple[int, int]) -> tuple[float, int]:
        # Rounded, so that 2:1 at 256 equals 2:1 at 512.
        distance = abs((log(size[0]) - log(size[1])) - (log(width) - log(height)))
        return round(distance, 9), -size[0] * size[1]

    return min(sizes, key=aspect_distance)


def _get_default_side_multiple(resolution: int) -> int:
    """64, as the VAE divides sides by 8 and the U-Net halves them three times; 8 where 64 is too coarse."""
    return 64 if resolution >= 256 else 8
