"""Encode several variants of every trained drawing, so that training the U-Net needs no VAE."""

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
from artwork import Artwork, list_further_pairs, load_artwork
from diffusers import AutoencoderKL
from fold_vae import load_folded
from numpy.random import Generator
from safetensors.torch import load_file, save_file
from torch import Tensor
from train_vae import as_tensor
from vae_model import SCALING_FACTOR

from tetrad.builtin.drawings import Colour, Placement, compose_image
from tetrad.builtin.vocabulary import BACKGROUNDS, STYLE_WORDS, SubjectStylePair, get_subject_words, list_trained_pairs

PAIRS_PER_BATCH = 16  # encoded together


@dataclass(frozen=True)
class Cache:
    """Scaled posterior means and deviations (N, 4, 16, 16), the caption pieces of each row, the seeds used."""

    mean: Tensor
    deviation: Tensor
    captions: list[dict[str, str]]
    seeds: list[int]


def concatenate_caches(parts: Sequence[Cache]) -> Cache:
    """One cache with the rows of all."""
    return Cache(
        torch.cat([part.mean for part in parts]).contiguous(),
        torch.cat([part.deviation for part in parts]).contiguous(),
        [caption for part in parts for caption in part.captions],
        [seed for part in parts for seed in part.seeds],
    )


def load_cache(work: Path) -> Cache:
    """Read what `save_cache` wrote."""
    tensors = load_file(work / "latents.safetensors")
    table = json.loads((work / "latents.json").read_text())
    if len(table["captions"]) != len(tensors["mean"]):
        raise SystemExit(
            f"{work}: latents.json and latents.safetensors do not belong together; delete both and run this again"
        )
    return Cache(tensors["mean"], tensors["std"], table["captions"], table["seeds"])


def save_cache(work: Path, cache: Cache) -> None:
    """Write `latents.safetensors` and `latents.json`, with the same order of rows."""
    table = {"scaling_factor": SCALING_FACTOR, "seeds": cache.seeds, "captions": cache.captions}
    (work / "latents.json.tmp").write_text(json.dumps(table))
    save_file({"mean": cache.mean, "std": cache.deviation}, work / "latents.tmp")
    (work / "latents.json.tmp").replace(work / "latents.json")
    (work / "latents.tmp").replace(work / "latents.safetensors")


def encode_variants(
    autoencoder: AutoencoderKL, artwork: Artwork, pairs: Sequence[SubjectStylePair], variants: int, seed: int
) -> Iterator[Cache]:
    """`variants` rows for each pair, random by the seed; images are composed on all CPU cores."""
    device = next(autoencoder.parameters()).device
    drawings = (artwork[pair] for pair in pairs)
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        composed = processes.map(
            compose_variants, pairs, drawings, repeat(variants), repeat(seed), range(len(pairs)), chunksize=16
        )
        while chunk := list(islice(composed, PAIRS_PER_BATCH)):
            images = as_tensor([image for _, images in chunk for image in images]).to(device)
            with torch.no_grad():
                posterior = autoencoder.encode(images).latent_dist
            yield Cache(
                (posterior.mean * SCALING_FACTOR).cpu(),
                (posterior.std * SCALING_FACTOR).cpu(),
                [pieces for captions, _ in chunk for pieces in captions],
                [],
            )


def compose_variants(
    pair: SubjectStylePair, drawing: np.ndarray, variants: int, seed: int, number: int
) -> tuple[list[dict[str, str]], list[np.ndarray]]:
    """The caption pieces of a pair and its images: large, near the center and never mirrored.

    A caption then describes nearly everything in its image.
    """
    rng = np.random.default_rng([seed, 2, number])
    backgrounds = spread_backgrounds(rng, variants)
    pieces = {"subject": get_subject_words(pair.subject), "style": STYLE_WORDS[pair.drawing_set]}
    captions = [pieces | {"background": background} for background in backgrounds]
    return captions, [place_drawing(drawing, BACKGROUNDS[name], rng) for name in backgrounds]


def place_drawing(drawing: np.ndarray, colour: Colour, rng: Generator) -> np.ndarray:
    placement = Placement(rng.uniform(0.78, 0.92), rng.uniform(-0.03, 0.03), rng.uniform(-0.03, 0.03))
    return compose_image(drawing, colour, placement)


def spread_backgrounds(rng: Generator, count: int) -> list[str]:
    """Background names in random order; all are used before one repeats."""
    names = list(BACKGROUNDS)
    repetitions = -(-count // len(names))
    return [str(name) for _ in range(repetitions) for name in rng.permutation(names)][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--variants", type=int, default=22, help="variants of each trained pair")
    parser.add_argument("--further-variants", type=int, default=7, help="variants of each further drawing")
    parser.add_argument("--seed", type=int, default=0, help="another seed adds more variants")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    work = arguments.work
    existing = [load_cache(work)] if (work / "latents.json").exists() else []
    if existing and arguments.seed in existing[0].seeds:
        raise SystemExit(
            f"seed {arguments.seed} is already in {work / 'latents.json'}; use another seed to add variants"
        )
    artwork, autoencoder = load_artwork(work), load_folded(work).to(arguments.device)
    new: list[Cache] = []
    for pairs, variants in (
        ([pair for pair in list_trained_pairs() if pair in artwork.index], arguments.variants),
        (list_further_pairs(artwork), arguments.further_variants),
    ):
        new += encode_variants(autoencoder, artwork, pairs, variants, arguments.seed)
    cache = concatenate_caches([*existing, *new])
    cache = replace(cache, seeds=[*cache.seeds, arguments.seed])
    save_cache(work, cache)
    spread = f"mean {cache.mean.mean():.3f}, deviation {cache.mean.std():.3f}"
    print(f"{len(cache.captions)} rows, seeds {cache.seeds}; {spread}")


if __name__ == "__main__":
    main()
