"""What a picture shows, told without a network: the drawing it is nearest to, and the colour at its border."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tetrad.builtin.drawings import Placement, atlas, compose
from tetrad.builtin.vocabulary import BACKGROUNDS, Pair

COLOUR_CELLS = 12
EDGE_CELLS = 8
BORDER = 3
FRAME = 48
FAINT = 20.0
PLACEMENTS = tuple(Placement(flip=flip) for flip in (False, True))


def features(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, H, W, 3) in 0…255 -> (N, 12 * 12 * 3 + 8 * 8): mean colours and edge energies, each centred and of length 1.

    Each picture is first cut to a square around its drawing, so that size and place do not count.
    """
    values: NDArray[np.float32] = np.stack([framed(picture) for picture in pictures]).astype(np.float32) / np.float32(
        255
    )
    colours = cell_means(values, COLOUR_CELLS).reshape(len(values), -1)
    gray: NDArray[np.float32] = values.mean(-1, keepdims=True)
    edges = np.zeros(gray.shape, np.float32)
    edges[:, :, 1:] += np.abs(np.diff(gray, axis=2))
    edges[:, 1:] += np.abs(np.diff(gray, axis=1))
    energies = cell_means(edges, EDGE_CELLS).reshape(len(values), -1)
    return np.concatenate([unit(colours), unit(energies)], axis=1)


def framed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The least square that holds 98 % of what differs from the border's colour, at 48 x 48."""
    difference = np.abs(picture.astype(np.float32) - border_colour(picture)).mean(-1)
    drawn = np.where(difference > FAINT, difference, 0)
    if not drawn.any():
        drawn = np.ones_like(drawn)
    top, bottom = middle_stretch(drawn.sum(1))
    left, right = middle_stretch(drawn.sum(0))
    half = max(bottom - top, right - left) / 2
    height, width = drawn.shape
    # Beyond the picture's edge there is more background.
    padding = max(height, width)
    wide = np.empty((height + 2 * padding, width + 2 * padding, 3), np.uint8)
    wide[:] = border_colour(picture).astype(np.uint8)
    wide[padding : padding + height, padding : padding + width] = picture
    row, column = (top + bottom) / 2 + padding, (left + right) / 2 + padding
    box = (column - half, row - half, column + half, row + half)
    return np.asarray(Image.fromarray(wide).resize((FRAME, FRAME), Image.Resampling.BILINEAR, box=box))


def middle_stretch(mass: NDArray[np.float32]) -> tuple[int, int]:
    """Start and end of the stretch that leaves out one part in a hundred at either end."""
    share = np.cumsum(mass) / mass.sum()
    return int(np.searchsorted(share, 0.01)), int(np.searchsorted(share, 0.99)) + 1


def cell_means(values: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """(N, H, W, C) -> (N, cells, cells, C), cells of equal size even where they cut pixels."""
    rows, columns = averaging(values.shape[1], cells), averaging(values.shape[2], cells)
    means: NDArray[np.float32] = np.einsum("ri,nijc,sj->nrsc", rows, values, columns, optimize=True)
    return means


def averaging(length: int, cells: int) -> NDArray[np.float32]:
    """(cells, length): row r averages the r-th of `cells` equal stretches."""
    edges = np.linspace(0, length, cells + 1)
    starts, ends = edges[:-1, None], edges[1:, None]
    pixel = np.arange(length)[None]
    overlap = np.clip(np.minimum(ends, pixel + 1) - np.maximum(starts, pixel), 0, None)
    shares: NDArray[np.float32] = (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)
    return shares


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row less its mean, at length 1."""
    centred = rows - rows.mean(1, keepdims=True)
    rows_of_one: NDArray[np.float32] = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    return rows_of_one


def background_name(picture: NDArray[np.uint8]) -> str:
    """The named colour nearest to the border."""
    colour = border_colour(picture)
    return min(BACKGROUNDS, key=lambda name: float(np.sum((colour - BACKGROUNDS[name]) ** 2)))


def border_colour(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The median (3,) of a border 3 pixels wide."""
    on_border = np.ones(picture.shape[:2], bool)
    on_border[BORDER:-BORDER, BORDER:-BORDER] = False
    colour: NDArray[np.float32] = np.median(picture[on_border], axis=0).astype(np.float32)
    return colour


@cache
def reference(pair: Pair, background: str) -> NDArray[np.float32]:
    """The features of a drawing on a background, upright and mirrored, (2, F)."""
    colour = BACKGROUNDS[background]
    return features(np.stack([compose(atlas()[pair], colour, placement, 56) for placement in PLACEMENTS]))


def distances(picture: NDArray[np.uint8], pairs: Sequence[Pair], background: str) -> NDArray[np.float32]:
    """From a picture (H, W, 3) to each pair's drawing on that background, mirrored or not, (pairs,)."""
    candidates = np.stack([reference(pair, background) for pair in pairs])
    found: NDArray[np.float32] = np.linalg.norm(candidates - features(picture[None])[0], axis=-1).min(-1)
    return found
