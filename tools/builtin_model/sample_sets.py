"""Write the sample picture sets of the project: a subject, a person and a style that the built-in model never saw."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from artwork import SIDE, Artwork, load_artwork
from numpy.random import Generator
from PIL import Image

from tetrad.builtin.drawings import compose, random_placement
from tetrad.builtin.tasks import PERSON_BACKGROUNDS, STYLE_SUBJECTS, SUBJECT_BACKGROUNDS, sample_caption
from tetrad.builtin.vocabulary import (
    BACKGROUNDS,
    HELD_OUT_SET,
    PERSON_SAMPLE,
    STYLE_SAMPLE,
    SUBJECT_SAMPLE,
    TRIGGER,
    Pair,
    caption,
    words,
)


@dataclass(frozen=True)
class Sample:
    """A picture to be written, and its caption."""

    pair: Pair
    background: str
    caption: str


def of_one_drawing(pair: Pair, backgrounds: tuple[str, ...]) -> list[Sample]:
    """The same drawing on each background; the trigger word stands for the thing itself."""
    return [Sample(pair, background, sample_caption(TRIGGER, background)) for background in backgrounds]


def of_style(drawing_set: str) -> list[Sample]:
    """Many things drawn one way; the trigger word stands for the style."""
    return [
        Sample(Pair(subject, drawing_set), background, caption(words(subject), TRIGGER, background))
        for subject, background in STYLE_SUBJECTS.items()
    ]


def write_set(samples: list[Sample], artwork: Artwork, folder: Path, rng: Generator) -> None:
    """01.png, 01.txt and so on; 128 pixels a side."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(samples, 1):
        colour = BACKGROUNDS[sample.background]
        picture = compose(artwork[sample.pair], colour, random_placement(rng), SIDE)
        Image.fromarray(picture).save(folder / f"{number:02}.png", optimize=True)
        (folder / f"{number:02}.txt").write_text(sample.caption + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True, help="the folder src/tetrad/builtin")
    arguments = parser.parse_args()
    artwork, rng = load_artwork(arguments.work), np.random.default_rng(7)
    subject = of_one_drawing(Pair(SUBJECT_SAMPLE, HELD_OUT_SET), SUBJECT_BACKGROUNDS)
    person = of_one_drawing(Pair(PERSON_SAMPLE, HELD_OUT_SET), PERSON_BACKGROUNDS)
    write_set(subject, artwork, arguments.to / "subject", rng)
    write_set(person, artwork, arguments.to / "person", rng)
    write_set(of_style(STYLE_SAMPLE), artwork, arguments.to / "style", rng)


if __name__ == "__main__":
    main()
