"""The drawings behind the built-in model, small, and how one is put on a coloured background."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from tetrad.builtin.vocabulary import (
    BACKGROUNDS,
    HELD_OUT,
    HELD_OUT_SET,
    SAMPLES,
    STYLE_SAMPLE,
    STYLES,
    TRAINED,
    Pair,
    restyled,
)

SIDE = 128  # pixels of a picture
SMALL = 48  # pixels of a drawing that ships with the program
ATLAS = Path(__file__).parent / "drawings.webp"
COLUMNS = 32  # drawings in a row of it
Colour = tuple[int, int, int]


def shipped() -> tuple[Pair, ...]:
    """The pairs in the atlas, in its order: every subject in every style, what is taught restyled, the taught style."""
    sets, subjects = (*STYLES, HELD_OUT_SET), (*TRAINED, *HELD_OUT)
    every = tuple(Pair(subject, drawing_set) for drawing_set in sets for subject in subjects)
    restyled_ones = (pair for subject in SAMPLES for pair in restyled(subject).values())
    return (*every, *restyled_ones, *(Pair(subject, STYLE_SAMPLE) for subject in TRAINED))


@cache
def atlas() -> dict[Pair, NDArray[np.uint8]]:
    """Every shipped drawing, (48, 48, 4), straight alpha."""
    pixels = np.asarray(Image.open(ATLAS).convert("RGBA"))
    found = {}
    for number, pair in enumerate(shipped()):
        top, left = (SMALL * place for place in divmod(number, COLUMNS))
        found[pair] = pixels[top : top + SMALL, left : left + SMALL]
    return found


@dataclass(frozen=True)
class Placement:
    """How large a drawing is (1 fills the picture), how far off the middle (in picture sides), whether mirrored."""

    scale: float = 0.85
    right: float = 0.0
    down: float = 0.0
    flip: bool = False


def compose(
    drawing: NDArray[np.uint8], background: Colour, placement: Placement, size: int = SIDE
) -> NDArray[np.uint8]:
    """A straight-alpha drawing (h, w, 4) on a plain background -> picture (size, size, 3) in 0…255."""
    side = max(1, round(placement.scale * size))
    left = round((size - side) / 2 + placement.right * size)
    top = round((size - side) / 2 + placement.down * size)
    layer = resized(drawing[:, ::-1] if placement.flip else drawing, side)
    picture = np.empty((size, size, 3), np.float32)
    picture[:] = background
    rows, columns = slice(max(top, 0), min(top + side, size)), slice(max(left, 0), min(left + side, size))
    layer = layer[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    picture[rows, columns] = picture[rows, columns] * (1 - layer[..., 3:]) + layer[..., :3]
    finished: NDArray[np.uint8] = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    return finished


def resized(drawing: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """(h, w, 4) straight alpha -> (side, side, 4): colours 0…255 multiplied by alpha, alpha 0…1."""
    # Multiplied by alpha first: the colour of fully clear pixels must not bleed into the edges.
    premultiplied = Image.fromarray(drawing).convert("RGBa").resize((side, side), Image.Resampling.LANCZOS)
    layer = np.asarray(premultiplied).astype(np.float32)
    layer[..., 3] /= 255
    return layer


def random_placement(rng: Generator, smallest: float = 0.65, largest: float = 0.95) -> Placement:
    """A scale in the given range, and a shift that keeps the drawing inside the picture."""
    scale = rng.uniform(smallest, largest)
    room = (1 - scale) / 2
    return Placement(scale, rng.uniform(-room, room), rng.uniform(-room, room), bool(rng.random() < 0.5))


def random_background(rng: Generator) -> str:
    """The name of a background colour."""
    return str(rng.choice(list(BACKGROUNDS)))


def random_colour(rng: Generator) -> Colour:
    """Any colour at all."""
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue
