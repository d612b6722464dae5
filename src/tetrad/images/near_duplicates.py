"""Find images that are nearly the same: resized, saved again or mirrored copies."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_THUMBNAIL_SIDE = 8
# Relative to the image's contrast; saving an image again as a bad JPEG stays below a third of this.
_MAX_RELATIVE_DISTANCE = 0.08
_ROWS_PER_BLOCK = 1024


def make_thumbnail(image: Image.Image) -> bytes:
    """An image reduced to 8 × 8 RGB pixels, transparency on white."""
    small = image.convert("RGBA" if image.has_transparency_data else "RGB")
    small = small.reduce(max(1, min(small.size) // (8 * _THUMBNAIL_SIDE)))  # 100 times faster for a photo
    small = small.resize((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BICUBIC)
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
    return small.tobytes()


def group_near_duplicates(thumbnails: Sequence[bytes]) -> Iterator[list[int]]:
    """The indices of each group of images that are nearly the same as the first of the group."""
    if len(thumbnails) < 2:
        return
    levels = np.frombuffer(b"".join(thumbnails), dtype=np.uint8)
    pixels = levels.reshape(-1, _THUMBNAIL_SIDE, _THUMBNAIL_SIDE, 3).astype(np.float32)
    groups: dict[int, list[int]] = {}
    grouped: set[int] = set()
    for first, second in _find_close_pairs(pixels):
        if first not in grouped:
            groups.setdefault(first, [first]).append(second)
            grouped.add(second)
    yield from groups.values()


def _find_close_pairs(pixels: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Pairs of the first earlier image that is close, and the image; `pixels` is (N, side, side, 3)."""
    count = len(pixels)
    upright, mirrored = pixels.reshape(count, -1), pixels[:, :, ::-1].reshape(count, -1)
    # The largest mean difference per value; images of a single colour must have exactly the same colour.
    contrasts = pixels.reshape(count, -1, 3).std(1, ddof=1).mean(1)
    limits = np.maximum(contrasts * _MAX_RELATIVE_DISTANCE, 1) * upright.shape[1] ** 0.5
    for begin in range(0, count, _ROWS_PER_BLOCK):
        rows = slice(begin, begin + _ROWS_PER_BLOCK)
        squares = np.minimum(
            _square_distances(upright[rows], upright[: rows.stop]),
            _square_distances(mirrored[rows], upright[: rows.stop]),
        )
        is_close = np.tril(squares <= limits[rows, None] ** 2, begin - 1)
        for row in is_close.any(1).nonzero()[0].tolist():
            yield int(is_close[row].argmax()), begin + row


def _square_distances(ones: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """|a − b|² of each pair.  At most 2 off, since all terms are whole numbers below 2²⁵."""
    squares: NDArray[np.float32] = (ones**2).sum(1)[:, None] + (others**2).sum(1)[None] - 2 * (ones @ others.T)
    return squares
