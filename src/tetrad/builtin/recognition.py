"""Recognition without a neural network: the drawing an image is nearest to, and the colour of its border."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tetrad.builtin.drawings import Placement, compose_image, load_atlas
from tetrad.builtin.vocabulary import BACKGROUNDS, SubjectStylePair

_COLOUR_GRID_CELLS = 12
_EDGE_GRID_CELLS = 8
_BORDER_WIDTH = 3
_CROP_SIDE = 48
_MIN_DIFFERENCE = 20.0
_MIN_CHROMA = 40.0  # below it a colour is rather gray, whatever its hue
_PLACEMENTS = tuple(Placement(flip=flip) for flip in (False, True))


def compute_features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, H, W, 3) in 0…255 -> (N, 12 * 12 * 3 + 8 * 8): mean colours and edge energies, each centred and of length 1.

    Each image is first cropped to a square around its drawing, so that size and position do not matter.
    """
    values: NDArray[np.float32] = np.stack([_crop_to_drawing(image) for image in images]).astype(
        np.float32
    ) / np.float32(255)
    colours = _compute_cell_means(values, _COLOUR_GRID_CELLS).reshape(len(values), -1)
    gray: NDArray[np.float32] = values.mean(-1, keepdims=True)
    edges = np.zeros(gray.shape, np.float32)
    edges[:, :, 1:] += np.abs(np.diff(gray, axis=2))
    edges[:, 1:] += np.abs(np.diff(gray, axis=1))
    energies = _compute_cell_means(edges, _EDGE_GRID_CELLS).reshape(len(values), -1)
    return np.concatenate([_normalize_rows(colours), _normalize_rows(energies)], axis=1)


def _crop_to_drawing(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The smallest square with the central 98 % of what differs from the border's colour, resized to 48 x 48."""
    difference = np.abs(image.astype(np.float32) - _measure_border_colour(image)).mean(-1)
    foreground = np.where(difference > _MIN_DIFFERENCE, difference, 0)
    if not foreground.any():
        foreground = np.ones_like(foreground)
    top, bottom = _find_central_range(foreground.sum(1))
    left, right = _find_central_range(foreground.sum(0))
    half = max(bottom - top, right - left) / 2
    height, width = foreground.shape
    # The square may reach beyond the image's edge, so the image is padded with its background.
    padding = max(height, width)
    padded = np.empty((height + 2 * padding, width + 2 * padding, 3), np.uint8)
    padded[:] = _measure_border_colour(image).astype(np.uint8)
    padded[padding : padding + height, padding : padding + width] = image
    row, column = (top + bottom) / 2 + padding, (left + right) / 2 + padding
    box = (column - half, row - half, column + half, row + half)
    return np.asarray(Image.fromarray(padded).resize((_CROP_SIDE, _CROP_SIDE), Image.Resampling.BILINEAR, box=box))


def _find_central_range(mass: NDArray[np.float32]) -> tuple[int, int]:
    """Start and end of the range between the 1 % and 99 % quantiles of a distribution."""
    cumulative_share = np.cumsum(mass) / mass.sum()
    return int(np.searchsorted(cumulative_share, 0.01)), int(np.searchsorted(cumulative_share, 0.99)) + 1


def _compute_cell_means(values: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """(N, H, W, C) -> (N, cells, cells, C); cells have equal size, and a pixel on a border counts in parts."""
    rows, columns = _make_averaging_matrix(values.shape[1], cells), _make_averaging_matrix(values.shape[2], cells)
    means: NDArray[np.float32] = np.einsum("ri,nijc,sj->nrsc", rows, values, columns, optimize=True)
    return means


def _make_averaging_matrix(length: int, cells: int) -> NDArray[np.float32]:
    """(cells, length): row r averages the r-th of `cells` equal intervals."""
    edges = np.linspace(0, length, cells + 1)
    starts, ends = edges[:-1, None], edges[1:, None]
    pixel = np.arange(length)[None]
    overlap = np.clip(np.minimum(ends, pixel + 1) - np.maximum(starts, pixel), 0, None)
    shares: NDArray[np.float32] = (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)
    return shares


def _normalize_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row minus its mean, scaled to length 1."""
    centred = rows - rows.mean(1, keepdims=True)
    normalized: NDArray[np.float32] = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    return normalized


def detect_background(image: NDArray[np.uint8]) -> str:
    """The named colour nearest to the border."""
    colour = _measure_border_colour(image)
    return min(BACKGROUNDS, key=lambda name: float(np.sum((colour - BACKGROUNDS[name]) ** 2)))


def detect_colour(image: NDArray[np.uint8]) -> str:
    """The named colour that most of the drawing has: of what differs from the border's colour."""
    difference = np.abs(image.astype(np.float32) - _measure_border_colour(image)).mean(-1)
    pixels = image[difference > _MIN_DIFFERENCE].astype(np.float32)
    if not len(pixels):
        return detect_background(image)
    names = list(BACKGROUNDS)
    colours = _compute_colour_features(np.array([BACKGROUNDS[name] for name in names], np.float32))
    nearest = np.square(_compute_colour_features(pixels)[:, None] - colours[None]).sum(-1).argmin(1)
    return names[int(np.bincount(nearest, minlength=len(names)).argmax())]


def _compute_colour_features(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours (N, 3) -> (N, 4): hue, which counts most, and lightness; a light blue is nearer to blue than to gray."""
    lightness = colours.mean(1, keepdims=True)
    chroma = colours - lightness
    strength = np.linalg.norm(chroma, axis=1, keepdims=True)
    hue = chroma / np.maximum(strength, _MIN_CHROMA)
    features: NDArray[np.float32] = np.concatenate([hue, lightness * np.float32(0.004)], axis=1)
    return features


def _measure_border_colour(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The median (3,) of a border 3 pixels wide."""
    on_border = np.ones(image.shape[:2], bool)
    on_border[_BORDER_WIDTH:-_BORDER_WIDTH, _BORDER_WIDTH:-_BORDER_WIDTH] = False
    colour: NDArray[np.float32] = np.median(image[on_border], axis=0).astype(np.float32)
    return colour


@cache
def compute_reference_features(pair: SubjectStylePair, background: str) -> NDArray[np.float32]:
    """The features of a drawing on a background, as it is and mirrored, (2, F)."""
    colour = BACKGROUNDS[background]
    return compute_features(
        np.stack([compose_image(load_atlas()[pair], colour, placement, 56) for placement in _PLACEMENTS])
    )


def compute_distances(
    image: NDArray[np.uint8], pairs: Sequence[SubjectStylePair], background: str
) -> NDArray[np.float32]:
    """Distances of an image (H, W, 3) to each pair's drawing on that background, mirrored or not, (pairs,)."""
    candidates = np.stack([compute_reference_features(pair, background) for pair in pairs])
    nearest: NDArray[np.float32] = np.linalg.norm(candidates - compute_features(image[None])[0], axis=-1).min(-1)
    return nearest
