"""Encode every trained pair in several variants, so that the diffusion model never waits for the autoencoder."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from artwork import Artwork, load_artwork
from diffusers import AutoencoderKL
from fold_vae import load_folded
from numpy.random import Generator
from safetensors.torch import load_file, save_file
from torch import Tensor
from train_vae import as_tensor
from vae_model import SCALING_FACTOR

from tetrad.builtin.drawings import Placement, compose, inked
from tetrad.builtin.vocabulary import BACKGROUNDS, STYLES, Pair, trained_pairs, words


@dataclass(frozen=True)
class Cache:
    """Scaled posterior means and deviations (N, 4, 16, 16), the caption pieces of each row, and the seeds drawn."""

    mean: Tensor
    deviation: Tensor
    captions: list[dict[str, str]]
    seeds: list[int]

    def __add__(self, other: "Cache") -> "Cache":
        return Cache(
            torch.cat([self.mean, other.mean]),
            torch.cat([self.deviation, other.deviation]),
            self.captions + other.captions,
            self.seeds + other.seeds,
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


def new_variants(autoencoder: AutoencoderKL, artwork: Artwork, variants: int, seed: int) -> Cache:
    """`variants` rows for each trained pair, drawn from the seed."""
    rng = np.random.default_rng([seed, 2])
    means, deviations, captions = [], [], []
    for pair in trained_pairs():
        backgrounds = spread_backgrounds(rng, variants)
        images = as_tensor([variant(artwork, pair, background, rng) for background in backgrounds])
        with torch.no_grad():
            posterior = autoencoder.encode(images).latent_dist
        means.append(posterior.mean * SCALING_FACTOR)
        deviations.append(posterior.std * SCALING_FACTOR)
        pieces = {"subject": words(pair.subject), "style": STYLES[pair.icon_set]}
        captions += [pieces | {"background": background} for background in backgrounds]
    return Cache(torch.cat(means).contiguous(), torch.cat(deviations).contiguous(), captions, [seed])


def variant(artwork: Artwork, pair: Pair, background: str, rng: Generator) -> np.ndarray:
    """One picture of the pair: large, near the middle and never mirrored, so that a caption says nearly all of it."""
    colour = BACKGROUNDS[background]
    placement = Placement(rng.uniform(0.78, 0.92), rng.uniform(-0.03, 0.03), rng.uniform(-0.03, 0.03))
    return compose(inked(artwork[pair], pair.icon_set, colour), colour, placement)


def spread_backgrounds(rng: Generator, count: int) -> list[str]:
    """Names in random order; none comes again before all have come."""
    names = list(BACKGROUNDS)
    rounds = -(-count // len(names))
    return [str(name) for _ in range(rounds) for name in rng.permutation(names)][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--variants", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0, help="another seed adds more variants to those already there")
    arguments = parser.parse_args()
    work = arguments.work
    before = load_cache(work) if (work / "latents.json").exists() else None
    if before is not None and arguments.seed in before.seeds:
        raise SystemExit(f"seed {arguments.seed} is already in {work / 'latents.json'}; give another to add variants")
    cache = new_variants(load_folded(work), load_artwork(work), arguments.variants, arguments.seed)
    cache = cache if before is None else before + cache
    save_cache(work, cache)
    spread = f"mean {cache.mean.mean():.3f}, deviation {cache.mean.std():.3f}"
    print(f"{len(cache.captions)} rows, seeds {cache.seeds}; {spread}")


if __name__ == "__main__":
    main()
