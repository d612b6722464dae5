"""The drawings that the built-in model was trained on, in a small size, and how to place one on a background."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from tetrad.builtin import IMAGE_SIDE
from tetrad.builtin.vocabulary import (
    BACKGROUNDS,
    HELD_OUT_DRAWING_SET,
    HELD_OUT_SUBJECTS,
    SAMPLE_STYLE_SET,
    SAMPLE_SUBJECTS,
    STYLE_WORDS,
    TRAINED_SUBJECTS,
    SubjectStylePair,
    get_restyled_pairs,
)

DRAWING_SIDE = 48  # pixels of a drawing in the atlas
ATLAS_PATH = Path(__file__).parent / "drawings.webp"
ATLAS_COLUMNS = 32  # drawings in a row of the atlas
Colour = tuple[int, int, int]


def list_atlas_pairs() -> tuple[SubjectStylePair, ...]:
    """The pairs in the atlas, in order: all subjects in all styles, the sample subjects restyled, the sample style."""
    sets, subjects = (*STYLE_WORDS, HELD_OUT_DRAWING_SET), (*TRAINED_SUBJECTS, *HELD_OUT_SUBJECTS)
    all_pairs = tuple(SubjectStylePair(subject, drawing_set) for drawing_set in sets for subject in subjects)
    restyled_pairs = (pair for subject in SAMPLE_SUBJECTS for pair in get_restyled_pairs(subject).values())
    return (*all_pairs, *restyled_pairs, *(SubjectStylePair(subject, SAMPLE_STYLE_SET) for subject in TRAINED_SUBJECTS))


@cache
def load_atlas() -> dict[SubjectStylePair, NDArray[np.uint8]]:
    """Every drawing of the atlas, (48, 48, 4), straight alpha."""
    pixels = np.asarray(Image.open(ATLAS_PATH, formats=["WEBP"]).convert("RGBA"))
    drawings = {}
    for number, pair in enumerate(list_atlas_pairs()):
        top, left = (DRAWING_SIDE * index for index in divmod(number, ATLAS_COLUMNS))
        drawings[pair] = pixels[top : top + DRAWING_SIDE, left : left + DRAWING_SIDE]
    return drawings


@dataclass(frozen=True)
class Placement:
    """A drawing's size (1 fills the image), its distance from the center (1 is the image's side), and mirroring."""

    scale: float = 0.85
    offset_x: float = 0.0
    offset_y: float = 0.0
    flip: bool = False


def compose_image(
    drawing: NDArray[np.uint8], background: Colour, placement: Placement, size: int = IMAGE_SIDE
) -> NDArray[np.uint8]:
    """A straight-alpha drawing (h, w, 4) on a plain background -> image (size, size, 3) in 0…255."""
    side = max(1, round(placement.scale * size))
    left = round((size - side) / 2 + placement.offset_x * size)
    top = round((size - side) / 2 + placement.offset_y * size)
    layer = _resize_premultiplied(drawing[:, ::-1] if placement.flip else drawing, side)
    image = np.empty((size, size, 3), np.float32)
    image[:] = background
    rows, columns = slice(max(top, 0), min(top + side, size)), slice(max(left, 0), min(left + side, size))
    layer = layer[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    image[rows, columns] = image[rows, columns] * (1 - layer[..., 3:]) + layer[..., :3]
    clipped: NDArray[np.uint8] = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    return clipped


def _resize_premultiplied(drawing: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """(h, w, 4) straight alpha -> (side, side, 4): colours 0…255 multiplied by alpha, alpha 0…1."""
    # Premultiplied, so that the colour of transparent pixels does not bleed into the edges.
    premultiplied = Image.fromarray(drawing).convert("RGBa").resize((side, side), Image.Resampling.LANCZOS)
    layer = np.asarray(premultiplied).astype(np.float32)
    layer[..., 3] /= 255
    return layer


def random_placement(rng: Generator, smallest: float = 0.65, largest: float = 0.95) -> Placement:
    """A scale in the given range, and an offset that keeps the drawing inside the image."""
    scale = rng.uniform(smallest, largest)
    room = (1 - scale) / 2
    return Placement(scale, rng.uniform(-room, room), rng.uniform(-room, room), bool(rng.random() < 0.5))


def random_background(rng: Generator) -> str:
    """The name of one of the background colours."""
    return str(rng.choice(list(BACKGROUNDS)))


def random_colour(rng: Generator) -> Colour:
    """A colour with three uniform random channels."""
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue
