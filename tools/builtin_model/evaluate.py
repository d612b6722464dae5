"""Measure the built-in model: does it draw the subject asked for, in the style and on the background asked for?"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tetrad import builtin
from tetrad.builtin.drawings import BACKGROUNDS, atlas, compose, random_background, random_placement
from tetrad.builtin.recognition import background_name, distances
from tetrad.builtin.vocabulary import (
    HELD_OUT,
    HELD_OUT_SET,
    STYLE_SAMPLE,
    STYLES,
    TRAINED,
    Pair,
    caption,
    left_out_pairs,
    trained_pairs,
    words,
)


@dataclass(frozen=True)
class Asked:
    """What a generator is asked to draw."""

    pair: Pair
    background: str

    @property
    def caption(self) -> str:
        return caption(words(self.pair.subject), STYLES[self.pair.drawing_set], self.background)


@dataclass(frozen=True)
class Scores:
    """Shares of the pictures, 0…1; guessing gives 1/153, 10/153, 1/5 and 1/11."""

    pictures: int
    subject: float  # nearest of all subjects in the style asked for
    subject_in_ten: float
    style: float  # nearest of the five styles of the subject asked for
    background: float

    def __str__(self) -> str:
        shares = f"subject {self.subject:.1%}, in ten {self.subject_in_ten:.1%}, style {self.style:.1%}"
        return f"{shares}, background {self.background:.1%} of {self.pictures} pictures"


Generate = Callable[[Sequence[Asked]], NDArray[np.uint8]]  # -> pictures (N, H, W, 3) in 0…255


def chosen(pairs: Sequence[Pair], count: int, seed: int = 0) -> list[Asked]:
    """`count` of the pairs, none twice, each on a random background."""
    rng = np.random.default_rng(seed)
    return [Asked(pairs[place], random_background(rng)) for place in rng.permutation(len(pairs))[:count]]


def scores(asked: Sequence[Asked], pictures: NDArray[np.uint8], subjects: Sequence[str] = TRAINED) -> Scores:
    """Compare every picture with the drawings of all subjects in its style, and with its own subject in all styles."""
    ranks, styles, backgrounds = [], [], []
    for one, picture in zip(asked, pictures, strict=True):
        own_style = [Pair(subject, one.pair.drawing_set) for subject in subjects]
        own_subject = [Pair(one.pair.subject, drawing_set) for drawing_set in STYLES]
        to_subjects = distances(picture, own_style, one.background)
        ranks.append(int((to_subjects < to_subjects[own_style.index(one.pair)]).sum()))
        styles.append(own_subject[int(distances(picture, own_subject, one.background).argmin())] == one.pair)
        backgrounds.append(background_name(picture) == one.background)
    rank = np.array(ranks)
    shares = [float(np.mean(share)) for share in (rank == 0, rank < 10, styles, backgrounds)]
    return Scores(len(rank), *shares)


def further_subjects(work: Path) -> list[str]:
    """The other subjects that the model was shown in every style; their drawings join those that ship."""
    from artwork import further_pairs, load_artwork, small

    artwork = load_artwork(work)
    pairs = further_pairs(artwork)
    atlas().update({pair: small(artwork[pair]) for pair in pairs})
    subjects = dict.fromkeys(pair.subject for pair in pairs)
    return [subject for subject in subjects if all(Pair(subject, style) in atlas() for style in STYLES)]


def drawings(asked: Sequence[Asked]) -> NDArray[np.uint8]:
    """The drawings themselves, placed at random: the best score that a generator can have."""
    rng, made = np.random.default_rng(1), []
    for one in asked:
        colour = BACKGROUNDS[one.background]
        made.append(compose(atlas()[one.pair], colour, random_placement(rng)))
    return np.stack(made)


class Drawer:
    """A model: each caption at a seed of its own, 30 steps, and the captions read as the demo reads them."""

    def __init__(self, model: str, cfg_scale: float) -> None:
        from tetrad import library  # torch and diffusers are loaded only for this

        self.model, self.cfg_scale = library.load_model(model), cfg_scale

    def __call__(self, asked: Sequence[Asked]) -> NDArray[np.uint8]:
        from tetrad.generation.generate import pictures
        from tetrad.generation.request import Request

        requests = [Request(one.caption, seed=n, steps=30, cfg_scale=self.cfg_scale) for n, one in enumerate(asked)]
        made = pictures(self.model, requests, batch_size=16)
        return np.stack([picture.mul(255).round().byte().permute(1, 2, 0).numpy() for picture in made])

    def restored(self, asked: Sequence[Asked]) -> NDArray[np.uint8]:
        """The drawings through the autoencoder: the best score that any model of its latents can have."""
        images = self.through(drawings(asked))
        return (images * 255).round().astype(np.uint8)

    def through(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        made = []
        for part in torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255).split(16):
            made.append(self.model.vae.decode(self.model.vae.encode(part)[0]).permute(0, 2, 3, 1).numpy())
        return np.concatenate(made)


def psnr(drawer: Drawer, work: Path, pairs: Sequence[Pair]) -> float:
    """Mean over pictures of 10 log10(1 / mean square error), in dB, at 128 pixels."""
    from artwork import load_artwork

    artwork, rng, images = load_artwork(work), np.random.default_rng(0), []
    for pair in pairs:
        colour = BACKGROUNDS[random_background(rng)]
        images.append(compose(artwork[pair], colour, random_placement(rng)))
    square_error = ((np.stack(images) / 255 - drawer.through(np.stack(images))) ** 2).mean((1, 2, 3))
    return float(np.mean(-10 * np.log10(np.maximum(square_error, 1e-8))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--cfg-scale", type=float, default=4.0)
    parser.add_argument("--count", type=int, default=300, help="captions of trained subjects")
    parser.add_argument("--work", type=Path, help="the work folder, for the autoencoder and all further subjects")
    parser.add_argument("--ceiling", action="store_true", help="also what the drawings themselves would score")
    arguments = parser.parse_args()
    drawer = Drawer(arguments.model, arguments.cfg_scale)
    known, unseen = chosen(trained_pairs(), arguments.count), chosen(left_out_pairs(), arguments.count)
    held_out = chosen([Pair(subject, drawing_set) for drawing_set in STYLES for subject in HELD_OUT], arguments.count)
    if arguments.ceiling:
        print("drawings:", scores(known, drawings(known)))
        print("through the autoencoder:", scores(known, drawer.restored(known)), flush=True)
    if arguments.work:
        for what, sets, subjects in (
            ("held-out subjects", STYLES, HELD_OUT),
            ("held-out style", [STYLE_SAMPLE], TRAINED),
            ("another hand", [HELD_OUT_SET], TRAINED),
        ):
            pairs = [Pair(subject, drawing_set) for drawing_set, subject in product(sets, subjects)]
            restored = psnr(drawer, arguments.work, pairs)
            print(f"autoencoder: {what} {restored:.2f} dB", flush=True)
    started = time.monotonic()
    drawn = drawer(known)
    print(f"{(time.monotonic() - started) / len(known):.2f} s a picture of 30 steps, sixteen at a time", flush=True)
    print("trained:", scores(known, drawn), flush=True)
    print("never together:", scores(unseen, drawer(unseen)), flush=True)
    if arguments.work:
        subjects = [*TRAINED, *further_subjects(arguments.work)]
        print(f"trained, among all {len(subjects)} subjects shown:", scores(known, drawn, subjects), flush=True)
    print("held out:", scores(held_out, drawer(held_out), (*TRAINED, *HELD_OUT)))
    print(f"file: {builtin.model_path(arguments.model).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
