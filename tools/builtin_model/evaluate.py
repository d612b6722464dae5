"""Score any generator of pictures: is the subject the one asked for, in the style and on the background asked for?"""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from artwork import Artwork, load_artwork
from numpy.random import Generator
from numpy.typing import NDArray

from tetrad.builtin.drawings import compose, inked, random_background, random_placement
from tetrad.builtin.recognition import References, background_name
from tetrad.builtin.vocabulary import BACKGROUNDS, STYLES, Pair, caption, left_out_pairs, trained_pairs, words


@dataclass(frozen=True)
class Request:
    """What a generator is asked to draw."""

    pair: Pair
    background: str

    @property
    def caption(self) -> str:
        return caption(words(self.pair.subject), STYLES[self.pair.icon_set], self.background)


@dataclass(frozen=True)
class Scores:
    """Shares of the pictures, 0…1. Guessing gives 1/148 for `subject`, 5/148 for `subject_in_five`, 1/5 for `style`."""

    pictures: int
    subject: float
    subject_in_five: float
    style: float
    background: float


# Requests -> pictures (N, H, W, 3) in 0…255.
Generate = Callable[[list[Request]], NDArray[np.uint8]]


def requests(pairs: tuple[Pair, ...], count: int, rng: Generator) -> list[Request]:
    """`count` of the pairs, none twice, each on a random background."""
    chosen = rng.permutation(len(pairs))[:count]
    return [Request(pairs[position], random_background(rng)) for position in chosen]


def scores(asked: list[Request], pictures: NDArray[np.uint8], references: References) -> Scores:
    """Compare every picture with the drawings of all subjects in its style, and with its own subject in all styles."""
    ranks, styles, backgrounds = [], [], []
    for request, picture in zip(asked, pictures, strict=True):
        own_style = [Pair(subject, request.pair.icon_set) for subject in references.subjects]
        own_subject = [Pair(request.pair.subject, icon_set) for icon_set in STYLES]
        to_subjects = references.distances(picture, own_style, request.background)
        to_styles = references.distances(picture, own_subject, request.background)
        ranks.append(int((to_subjects < to_subjects[own_style.index(request.pair)]).sum()))
        styles.append(own_subject[int(to_styles.argmin())] == request.pair)
        backgrounds.append(background_name(picture) == request.background)
    rank = np.array(ranks)
    return Scores(
        pictures=len(rank),
        subject=float((rank == 0).mean()),
        subject_in_five=float((rank < 5).mean()),
        style=float(np.mean(styles)),
        background=float(np.mean(backgrounds)),
    )


def evaluate(generate: Generate, artwork: Artwork, count: int = 100, seed: int = 0) -> dict[str, Scores]:
    """Scores on trained pairs, and on pairs whose two words were never trained together."""
    rng, references = np.random.default_rng(seed), References(artwork)
    asked = {
        "trained": requests(trained_pairs(), count, rng),
        "left out": requests(left_out_pairs(), count, rng),
    }
    return {name: scores(listed, generate(listed), references) for name, listed in asked.items()}


def drawn(artwork: Artwork, seed: int = 1) -> Generate:
    """The drawings themselves, placed at random: the best score that a generator can have."""
    rng = np.random.default_rng(seed)

    def generate(asked: list[Request]) -> NDArray[np.uint8]:
        pictures = []
        for request in asked:
            colour = BACKGROUNDS[request.background]
            drawing = inked(artwork[request.pair], request.pair.icon_set, colour)
            pictures.append(compose(drawing, colour, random_placement(rng)))
        return np.stack(pictures)

    return generate


def restored_by_autoencoder(artwork: Artwork, work: Path) -> Generate:
    """The same through the autoencoder: the best score that any model of its latents can have."""
    from fold_vae import load_folded  # torch and diffusers are loaded only for this
    from train_vae import as_tensor, restored

    autoencoder, source = load_folded(work), drawn(artwork)

    def generate(asked: list[Request]) -> NDArray[np.uint8]:
        images = restored(autoencoder, as_tensor(list(source(asked))))
        return ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()

    return generate


def drawn_by_model(model: str) -> Generate:
    """What a model draws from the captions, each at a seed of its own, with the settings of `tetrad demo`."""
    from tetrad import library  # torch and diffusers are loaded only for this
    from tetrad.generation.generate import pictures
    from tetrad.generation.request import Request as Asked

    loaded = library.load_model(model)

    def generate(asked: list[Request]) -> NDArray[np.uint8]:
        requests = [Asked(request.caption, seed=seed, cfg_scale=5.0) for seed, request in enumerate(asked)]
        made = [picture.mul(255).round().byte().permute(1, 2, 0).numpy() for picture in pictures(loaded, requests, 16)]
        return np.stack(made)

    return generate


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Score the drawings, the drawings through the autoencoder, and a model"
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--model", default="builtin")
    arguments = parser.parse_args()
    artwork = load_artwork(arguments.work)
    generators = {
        "drawings": drawn(artwork),
        "autoencoder": restored_by_autoencoder(artwork, arguments.work),
        "model": drawn_by_model(arguments.model),
    }
    for source, generate in generators.items():
        for name, result in evaluate(generate, artwork, arguments.count).items():
            print(source, name, asdict(result))


if __name__ == "__main__":
    main()
