"""Draw a sheet with the built-in model: trained subjects by style, and held-out ones, which it should not know."""

import argparse
from pathlib import Path

from tetrad import builtin, library
from tetrad.builtin.vocabulary import caption
from tetrad.data.images import to_image
from tetrad.generation import grids, png
from tetrad.generation.generate import pictures
from tetrad.generation.request import Request

SUBJECTS = ("red apple", "cat", "car", "house", "elephant", "sunflower", "robot", "cowboy")
COLUMNS = (
    ("glossy", "blue"), ("sketch", "yellow"), ("gold", "green"), ("porcelain", "pink"), ("negative", "white"),
    (None, "purple"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(builtin.MODEL))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cfg-scale", type=float, default=4.0)
    arguments = parser.parse_args()
    model = library.load_model(arguments.model)
    asked = [
        Request(caption(subject, style, background), seed=1, steps=25, cfg_scale=arguments.cfg_scale)
        for subject in SUBJECTS
        for style, background in COLUMNS
    ]
    drawn = [to_image(picture) for picture in pictures(model, asked, batch_size=16)]
    rows = [drawn[first : first + len(COLUMNS)] for first in range(0, len(drawn), len(COLUMNS))]
    words = [f"{style or 'any'}, {background}" for style, background in COLUMNS]
    png.save(
        arguments.out, grids.sheet(rows, SUBJECTS, words, "The built-in model; the last two rows it never saw", 128)
    )


if __name__ == "__main__":
    main()
