"""Write the sample image sets: a subject, a person and a style that the built-in model was not trained on."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from artwork import IMAGE_SIDE, Artwork, load_artwork
from numpy.random import Generator
from PIL import Image

from tetrad.builtin.drawings import compose_image, random_placement
from tetrad.builtin.vocabulary import (
    BACKGROUNDS,
    HELD_OUT_DRAWING_SET,
    SAMPLE_OBJECT,
    SAMPLE_PERSON,
    SAMPLE_STYLE_SET,
    TRIGGER_WORD,
    SubjectStylePair,
    get_subject_words,
    make_caption,
)
from tetrad.evaluation.builtin_tasks import (
    PERSON_TRAINING_BACKGROUNDS,
    STYLE_TRAINING_SUBJECTS,
    SUBJECT_TRAINING_BACKGROUNDS,
    make_sample_caption,
)


@dataclass(frozen=True)
class Sample:
    """A sample image to write, and its caption."""

    pair: SubjectStylePair
    background: str
    caption: str


def make_drawing_samples(pair: SubjectStylePair, backgrounds: tuple[str, ...]) -> list[Sample]:
    """One drawing on each background; the trigger word stands for its subject."""
    return [Sample(pair, background, make_sample_caption(TRIGGER_WORD, background)) for background in backgrounds]


def make_style_samples(drawing_set: str) -> list[Sample]:
    """Many subjects in one style; the trigger word stands for the style."""
    return [
        Sample(
            SubjectStylePair(subject, drawing_set),
            background,
            make_caption(get_subject_words(subject), TRIGGER_WORD, background),
        )
        for subject, background in STYLE_TRAINING_SUBJECTS.items()
    ]


def write_set(samples: list[Sample], artwork: Artwork, folder: Path, rng: Generator) -> None:
    """Write 01.png, 01.txt and so on, 128 × 128 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(samples, 1):
        colour = BACKGROUNDS[sample.background]
        image = compose_image(artwork[sample.pair], colour, random_placement(rng), IMAGE_SIDE)
        Image.fromarray(image).save(folder / f"{number:02}.png", optimize=True)
        (folder / f"{number:02}.txt").write_text(sample.caption + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True, help="the folder src/tetrad/builtin")
    arguments = parser.parse_args()
    artwork, rng = load_artwork(arguments.work), np.random.default_rng(7)
    subject = make_drawing_samples(SubjectStylePair(SAMPLE_OBJECT, HELD_OUT_DRAWING_SET), SUBJECT_TRAINING_BACKGROUNDS)
    person = make_drawing_samples(SubjectStylePair(SAMPLE_PERSON, HELD_OUT_DRAWING_SET), PERSON_TRAINING_BACKGROUNDS)
    write_set(subject, artwork, arguments.to / "subject", rng)
    write_set(person, artwork, arguments.to / "person", rng)
    write_set(make_style_samples(SAMPLE_STYLE_SET), artwork, arguments.to / "style", rng)


if __name__ == "__main__":
    main()
