"""Encode every drawing to learn in several variants, so that the diffusion model never waits for the autoencoder."""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice, repeat
from pathlib import Path

import numpy as np
import torch
from artwork import Artwork, further_pairs, load_artwork
from diffusers import AutoencoderKL
from fold_vae import load_folded
from numpy.random import Generator
from safetensors.torch import load_file, save_file
from torch import Tensor
from train_vae import as_tensor
from vae_model import SCALING_FACTOR

from tetrad.builtin.drawings import Colour, Placement, compose
from tetrad.builtin.vocabulary import BACKGROUNDS, STYLES, Pair, trained_pairs, words

PAIRS_AT_ONCE = 16  # whose pictures are encoded together


@dataclass(frozen=True)
class Cache:
    """Scaled posterior means and deviations (N, 4, 16, 16), the caption pieces of each row, and the seeds drawn."""

    mean: Tensor
    deviation: Tensor
    captions: list[dict[str, str]]
    seeds: list[int]


def together(parts: Sequence[Cache]) -> Cache:
    """Their rows, one after the other."""
    return Cache(
        torch.cat([part.mean for part in parts]).contiguous(),
        torch.cat([part.deviation for part in parts]).contiguous(),
        [caption for part in parts for caption in part.captions],
        [seed for part in parts for seed in part.seeds],
    )


def load_cache(work: Path) -> Cache:
    """What `save_cache` wrote."""
    tensors = load_file(work / "latents.safetensors")
    table = json.loads((work / "latents.json").read_text())
    if len(table["captions"]) != len(tensors["mean"]):
        raise SystemExit(
            f"{work}: latents.json and latents.safetensors do not belong together; delete both and start again"
        )
    return Cache(tensors["mean"], tensors["std"], table["captions"], table["seeds"])


def save_cache(work: Path, cache: Cache) -> None:
    """`latents.safetensors` and `latents.json`, row for row."""
    table = {"scaling_factor": SCALING_FACTOR, "seeds": cache.seeds, "captions": cache.captions}
    (work / "latents.json.tmp").write_text(json.dumps(table))
    save_file({"mean": cache.mean, "std": cache.deviation}, work / "latents.tmp")
    (work / "latents.json.tmp").replace(work / "latents.json")
    (work / "latents.tmp").replace(work / "latents.safetensors")


def new_variants(
    autoencoder: AutoencoderKL, artwork: Artwork, pairs: Sequence[Pair], variants: int, seed: int
) -> Iterator[Cache]:
    """`variants` rows for each pair, drawn from the seed; pictures are composed by all processors."""
    device = next(autoencoder.parameters()).device
    drawings = (artwork[pair] for pair in pairs)
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        composed = processes.map(
            pictures, pairs, drawings, repeat(variants), repeat(seed), range(len(pairs)), chunksize=16
        )
        while some := list(islice(composed, PAIRS_AT_ONCE)):
            images = as_tensor([image for _, images in some for image in images]).to(device)
            with torch.no_grad():
                posterior = autoencoder.encode(images).latent_dist
            yield Cache(
                (posterior.mean * SCALING_FACTOR).cpu(),
                (posterior.std * SCALING_FACTOR).cpu(),
                [pieces for captions, _ in some for pieces in captions],
                [],
            )


def pictures(
    pair: Pair, drawing: np.ndarray, variants: int, seed: int, number: int
) -> tuple[list[dict[str, str]], list[np.ndarray]]:
    """What the captions of a pair are made of, and its pictures: large, near the middle and never mirrored.

    So a caption says nearly all of a picture.
    """
    rng = np.random.default_rng([seed, 2, number])
    backgrounds = spread_backgrounds(rng, variants)
    pieces = {"subject": words(pair.subject), "style": STYLES[pair.drawing_set]}
    captions = [pieces | {"background": background} for background in backgrounds]
    return captions, [placed(drawing, BACKGROUNDS[name], rng) for name in backgrounds]


def placed(drawing: np.ndarray, colour: Colour, rng: Generator) -> np.ndarray:
    placement = Placement(rng.uniform(0.78, 0.92), rng.uniform(-0.03, 0.03), rng.uniform(-0.03, 0.03))
    return compose(drawing, colour, placement)


def spread_backgrounds(rng: Generator, count: int) -> list[str]:
    """Names in random order; none comes again before all have come."""
    names = list(BACKGROUNDS)
    rounds = -(-count // len(names))
    return [str(name) for _ in range(rounds) for name in rng.permutation(names)][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--variants", type=int, default=22, help="of each trained pair")
    parser.add_argument("--further-variants", type=int, default=7, help="of each further drawing")
    parser.add_argument("--seed", type=int, default=0, help="another seed adds more variants to those already there")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    work = arguments.work
    before = [load_cache(work)] if (work / "latents.json").exists() else []
    if before and arguments.seed in before[0].seeds:
        raise SystemExit(f"seed {arguments.seed} is already in {work / 'latents.json'}; give another to add variants")
    artwork, autoencoder = load_artwork(work), load_folded(work).to(arguments.device)
    made: list[Cache] = []
    for pairs, variants in (
        (trained_pairs(), arguments.variants),
        (further_pairs(artwork), arguments.further_variants),
    ):
        made += new_variants(autoencoder, artwork, pairs, variants, arguments.seed)
    cache = together([*before, *made])
    cache = replace(cache, seeds=[*cache.seeds, arguments.seed])
    save_cache(work, cache)
    spread = f"mean {cache.mean.mean():.3f}, deviation {cache.mean.std():.3f}"
    print(f"{len(cache.captions)} rows, seeds {cache.seeds}; {spread}")


if __name__ == "__main__":
    main()
