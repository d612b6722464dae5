"""Measure how often the built-in model generates the requested subject, style and background."""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tetrad import builtin
from tetrad.builtin.drawings import BACKGROUNDS, compose_image, load_atlas, random_background, random_placement
from tetrad.builtin.recognition import compute_distances, detect_background
from tetrad.builtin.vocabulary import (
    HELD_OUT_DRAWING_SET,
    HELD_OUT_SUBJECTS,
    SAMPLE_STYLE_SET,
    STYLE_WORDS,
    TRAINED_SUBJECTS,
    SubjectStylePair,
    get_subject_words,
    list_left_out_pairs,
    list_trained_pairs,
    make_caption,
)


@dataclass(frozen=True)
class TestPrompt:
    """A prompt for one pair on one background."""

    pair: SubjectStylePair
    background: str

    @property
    def caption(self) -> str:
        return make_caption(get_subject_words(self.pair.subject), STYLE_WORDS[self.pair.drawing_set], self.background)


@dataclass(frozen=True)
class Scores:
    """Shares of the images, 0…1; random images get 1/153, 10/153, 1/5 and 1/11."""

    images: int
    subject: float  # the requested subject is nearest, of all subjects in the requested style
    subject_in_ten: float
    style: float  # the requested style is nearest, of the five styles of the requested subject
    background: float

    def __str__(self) -> str:
        shares = f"subject {self.subject:.1%}, in ten {self.subject_in_ten:.1%}, style {self.style:.1%}"
        return f"{shares}, background {self.background:.1%} of {self.images} images"


Generate = Callable[[Sequence[TestPrompt]], NDArray[np.uint8]]  # -> images (N, H, W, 3) in 0…255


def sample_prompts(pairs: Sequence[SubjectStylePair], count: int, seed: int = 0) -> list[TestPrompt]:
    """Prompts for `count` of the pairs, each at most once, each on a random background."""
    rng = np.random.default_rng(seed)
    return [TestPrompt(pairs[index], random_background(rng)) for index in rng.permutation(len(pairs))[:count]]


def compute_scores(
    prompts: Sequence[TestPrompt], images: NDArray[np.uint8], subjects: Sequence[str] = TRAINED_SUBJECTS
) -> Scores:
    """Compare every image with the drawings of all subjects in its style, and with its own subject in all styles."""
    ranks, styles, backgrounds = [], [], []
    for prompt, image in zip(prompts, images, strict=True):
        own_style = [SubjectStylePair(subject, prompt.pair.drawing_set) for subject in subjects]
        own_subject = [SubjectStylePair(prompt.pair.subject, drawing_set) for drawing_set in STYLE_WORDS]
        to_subjects = compute_distances(image, own_style, prompt.background)
        ranks.append(int((to_subjects < to_subjects[own_style.index(prompt.pair)]).sum()))
        styles.append(
            own_subject[int(compute_distances(image, own_subject, prompt.background).argmin())] == prompt.pair
        )
        backgrounds.append(detect_background(image) == prompt.background)
    rank = np.array(ranks)
    shares = [float(np.mean(share)) for share in (rank == 0, rank < 10, styles, backgrounds)]
    return Scores(len(rank), *shares)


def load_further_subjects(work: Path) -> list[str]:
    """The further subjects that the model was trained on in every style; their drawings are added to the atlas."""
    from artwork import list_further_pairs, load_artwork, shrink_drawing

    artwork = load_artwork(work)
    pairs = list_further_pairs(artwork)
    load_atlas().update({pair: shrink_drawing(artwork[pair]) for pair in pairs})
    subjects = dict.fromkeys(pair.subject for pair in pairs)
    return [
        subject
        for subject in subjects
        if all(SubjectStylePair(subject, style) in load_atlas() for style in STYLE_WORDS)
    ]


def compose_drawings(prompts: Sequence[TestPrompt]) -> NDArray[np.uint8]:
    """Images composed of the drawings themselves, at random placements: an upper limit for any model."""
    rng, images = np.random.default_rng(1), []
    for prompt in prompts:
        colour = BACKGROUNDS[prompt.background]
        images.append(compose_image(load_atlas()[prompt.pair], colour, random_placement(rng)))
    return np.stack(images)


class ImageGenerator:
    """A model that generates an image for each prompt: 30 steps, and the prompt's index as the seed."""

    def __init__(self, model: str, cfg_scale: float) -> None:
        from tetrad import library  # torch and diffusers are loaded only for this

        self.model, self.cfg_scale = library.load_model(model), cfg_scale

    def __call__(self, prompts: Sequence[TestPrompt]) -> NDArray[np.uint8]:
        from tetrad.generation.generate import generate_images
        from tetrad.generation.request import Request

        requests = [
            Request(prompt.caption, seed=seed, steps=30, cfg_scale=self.cfg_scale)
            for seed, prompt in enumerate(prompts)
        ]
        images = generate_images(self.model, requests, batch_size=16)
        return np.stack([image.mul(255).round().byte().permute(1, 2, 0).numpy() for image in images])

    def reconstruct(self, prompts: Sequence[TestPrompt]) -> NDArray[np.uint8]:
        """The composed drawings after encoding and decoding: an upper limit for any model with this VAE."""
        images = self.encode_and_decode(compose_drawings(prompts))
        return (images * 255).round().astype(np.uint8)

    def encode_and_decode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        made = []
        for part in torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255).split(16):
            made.append(self.model.vae.decode(self.model.vae.encode(part)[0]).permute(0, 2, 3, 1).numpy())
        return np.concatenate(made)


def compute_psnr(generator: ImageGenerator, work: Path, pairs: Sequence[SubjectStylePair]) -> float:
    """Mean over images of 10 log10(1 / mean square error), in dB, at 128 pixels."""
    from artwork import load_artwork

    artwork, rng, images = load_artwork(work), np.random.default_rng(0), []
    for pair in pairs:
        colour = BACKGROUNDS[random_background(rng)]
        images.append(compose_image(artwork[pair], colour, random_placement(rng)))
    square_error = ((np.stack(images) / 255 - generator.encode_and_decode(np.stack(images))) ** 2).mean((1, 2, 3))
    return float(np.mean(-10 * np.log10(np.maximum(square_error, 1e-8))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--cfg-scale", type=float, default=4.0)
    parser.add_argument("--count", type=int, default=300, help="captions of trained subjects")
    parser.add_argument("--work", type=Path, help="the work folder, for the VAE and for all further subjects")
    parser.add_argument("--ceiling", action="store_true", help="also score the drawings themselves")
    arguments = parser.parse_args()
    generator = ImageGenerator(arguments.model, arguments.cfg_scale)
    known, unseen = (
        sample_prompts(list_trained_pairs(), arguments.count),
        sample_prompts(list_left_out_pairs(), arguments.count),
    )
    held_out = sample_prompts(
        [SubjectStylePair(subject, drawing_set) for drawing_set in STYLE_WORDS for subject in HELD_OUT_SUBJECTS],
        arguments.count,
    )
    if arguments.ceiling:
        print("drawings:", compute_scores(known, compose_drawings(known)))
        print("drawings through the VAE:", compute_scores(known, generator.reconstruct(known)), flush=True)
    if arguments.work:
        for label, sets, subjects in (
            ("held-out subjects", STYLE_WORDS, HELD_OUT_SUBJECTS),
            ("held-out style", [SAMPLE_STYLE_SET], TRAINED_SUBJECTS),
            ("another artist", [HELD_OUT_DRAWING_SET], TRAINED_SUBJECTS),
        ):
            pairs = [SubjectStylePair(subject, drawing_set) for drawing_set, subject in product(sets, subjects)]
            value = compute_psnr(generator, arguments.work, pairs)
            print(f"VAE: {label} {value:.2f} dB", flush=True)
    start_time = time.monotonic()
    images = generator(known)
    print(f"{(time.monotonic() - start_time) / len(known):.2f} s per image of 30 steps, in batches of 16", flush=True)
    print("trained:", compute_scores(known, images), flush=True)
    print("left-out pairs:", compute_scores(unseen, generator(unseen)), flush=True)
    if arguments.work:
        subjects = [*TRAINED_SUBJECTS, *load_further_subjects(arguments.work)]
        print(
            f"trained, among all {len(subjects)} trained subjects:", compute_scores(known, images, subjects), flush=True
        )
    print("held out:", compute_scores(held_out, generator(held_out), (*TRAINED_SUBJECTS, *HELD_OUT_SUBJECTS)))
    print(f"file: {builtin.resolve_model_path(arguments.model).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
