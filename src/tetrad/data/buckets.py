"""Aspect ratio buckets: the sizes that images are resized to, so that they can share a batch."""

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from math import ceil, log
from typing import TYPE_CHECKING

from tetrad.settings.buckets import BucketSettings

if TYPE_CHECKING:
    from tetrad.data.dataset import Photo


def bucket_of(photo: "Photo", resolution: int) -> tuple[int, int]:
    """The size (width, height) at which a photo is used for training; its subset may have a resolution of its own."""
    return find_bucket(photo.width, photo.height, photo.subset.resolution or resolution, photo.subset.buckets)


@lru_cache(10_000)
def find_bucket(width: int, height: int, resolution: int, buckets: BucketSettings) -> tuple[int, int]:
    """The size for an image of a size; one that is small may keep its own, cut to whole steps."""
    step = _find_step(resolution, buckets)
    if buckets.square:
        return (resolution // step * step,) * 2
    if not buckets.enlarge and width * height <= resolution**2:
        return max(step, width // step * step), max(step, height // step * step)
    return select_bucket(width, height, make_bucket_sizes(resolution, step, buckets.min_side, buckets.max_side))


def count_batches(photos: Iterable["Photo"], resolution: int, batch_size: int) -> int:
    """Batches in an epoch; a batch never mixes buckets."""
    buckets: Counter[tuple[int, int]] = Counter()
    for photo in photos:
        buckets[bucket_of(photo, resolution)] += photo.subset.repeats
    return sum(-(-number // batch_size) for number in buckets.values())


def make_bucket_sizes(
    resolution: int, side_multiple: int | None = None, min_side: int = 0, max_side: int = 0
) -> list[tuple[int, int]]:
    """Sizes (width, height) of at most resolution² pixels, with sides that are multiples of `side_multiple`.

    Sides are from half to twice the resolution, so aspect ratios from 1:4 to 4:1, unless other limits are given. The
    square is always included.
    """
    side_multiple = side_multiple or _get_default_side_multiple(resolution)
    assert resolution >= side_multiple, (resolution, side_multiple)
    lowest, highest = min_side or resolution / 2, (max_side or 2 * resolution) // side_multiple * side_multiple
    square_side = resolution // side_multiple * side_multiple
    bucket_sizes = {(square_side, square_side)}
    for width in range(ceil(lowest / side_multiple) * side_multiple, highest + 1, side_multiple):
        height = min(resolution**2 // width // side_multiple * side_multiple, highest)
        if height >= lowest:
            bucket_sizes |= {(width, height), (height, width)}
    return sorted(bucket_sizes)


def select_bucket(width: int, height: int, sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """The size closest in aspect ratio, by the logarithm of width / height; of equally close ones, the larger."""

    def aspect_distance(size: tuple[int, int]) -> tuple[float, int]:
        # Rounded, so that 2:1 at 256 equals 2:1 at 512.
        distance = abs((log(size[0]) - log(size[1])) - (log(width) - log(height)))
        return round(distance, 9), -size[0] * size[1]

    return min(sizes, key=aspect_distance)


def _find_step(resolution: int, buckets: BucketSettings) -> int:
    """What sides are multiples of: at most the resolution."""
    step = buckets.step or _get_default_side_multiple(resolution)
    return min(step, resolution // 8 * 8)


def _get_default_side_multiple(resolution: int) -> int:
    """64, as the VAE divides sides by 8 and the U-Net halves them three times; 8 where 64 is too coarse."""
    return 64 if resolution >= 256 else 8
