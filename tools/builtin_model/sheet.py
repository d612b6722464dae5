"""Generate a contact sheet with the built-in model: trained subjects by style, and held-out ones it should not know."""

import argparse
from pathlib import Path

from tetrad import builtin, library
from tetrad.builtin.vocabulary import make_caption
from tetrad.generation.generate import generate_images
from tetrad.generation.request import Request
from tetrad.images import contact_sheet, png
from tetrad.images.tensors import to_image

SUBJECTS = ("red apple", "cat", "car", "house", "elephant", "sunflower", "robot", "cowboy")
COLUMNS = (
    ("glossy", "blue"), ("sketch", "yellow"), ("gold", "green"), ("porcelain", "pink"), ("negative", "white"),
    (None, "purple"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(builtin.MODEL_PATH))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cfg-scale", type=float, default=4.0)
    arguments = parser.parse_args()
    model = library.load_model(arguments.model)
    requests = [
        Request(make_caption(subject, style, background), seed=1, steps=25, cfg_scale=arguments.cfg_scale)
        for subject in SUBJECTS
        for style, background in COLUMNS
    ]
    images = [to_image(image) for image in generate_images(model, requests, batch_size=16)]
    rows = [images[first : first + len(COLUMNS)] for first in range(0, len(images), len(COLUMNS))]
    headings = [f"{style or 'any'}, {background}" for style, background in COLUMNS]
    png.save_png(
        arguments.out,
        contact_sheet.make_contact_sheet(
            rows, SUBJECTS, headings, "The built-in model; it was not trained on the last two rows", 128
        ),
    )


if __name__ == "__main__":
    main()
