"""Fold the statistics of the trained latents into the autoencoder, and write it as `vae.safetensors`."""

import argparse
import copy
from pathlib import Path

import torch
from artwork import load_artwork
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor
from train_vae import RESULT, held_out_pictures, psnr, restored, training_pictures
from vae_model import SCALING_FACTOR, fold_statistics, new_autoencoder

FOLDED = "vae.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=2048)
    arguments = parser.parse_args()
    artwork = load_artwork(arguments.work)
    autoencoder = new_autoencoder().requires_grad_(False)
    autoencoder.load_state_dict(load_file(arguments.work / RESULT))
    images = next(training_pictures(artwork, arguments.pictures, seed=1, seen=0))
    latents = encoded(autoencoder, images)
    folded = copy.deepcopy(autoencoder)
    fold_statistics(folded, latents.mean((0, 2, 3)), latents.std((0, 2, 3)))
    save_folded(folded, arguments.work / FOLDED)
    check(autoencoder, folded, images)
    test = held_out_pictures(artwork)
    print(f"held-out PSNR {psnr(restored(folded, test), test):.2f} dB, {len(test)} pictures")


@torch.no_grad()
def encoded(autoencoder: AutoencoderKL, images: Tensor) -> Tensor:
    """Posterior means (N, 4, 8, 8), not scaled."""
    return torch.cat([autoencoder.encode(part).latent_dist.mean for part in images.split(64)])


def check(before: AutoencoderKL, after: AutoencoderKL, images: Tensor) -> None:
    """The pictures must be the same as before, and the scaled latents standard."""
    scaled = encoded(after, images) * SCALING_FACTOR
    mean, deviation = scaled.mean((0, 2, 3)), scaled.std((0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(deviation, torch.ones(4), atol=1e-3, rtol=0)
    part = images[:64]
    difference = (restored(before, part) - restored(after, part)).abs().max()
    if difference > 1e-3:
        raise SystemExit(f"folding changed the pictures by up to {difference:.2g}")
    print(f"scaled latents: mean {mean.tolist()}, deviation {deviation.tolist()}")
    print(f"folding changed the pictures by {difference:.2g} at most")


def save_folded(autoencoder: AutoencoderKL, path: Path) -> None:
    """The names of diffusers, float32."""
    weights = {name: value.float().contiguous() for name, value in autoencoder.state_dict().items()}
    temporary = path.with_suffix(".tmp")
    save_file(weights, temporary, metadata={"format": "pt"})
    temporary.replace(path)


def load_folded(work: Path) -> AutoencoderKL:
    """The finished autoencoder, for encoding and decoding only."""
    autoencoder = new_autoencoder().requires_grad_(False).eval()
    autoencoder.load_state_dict(load_file(work / FOLDED))
    return autoencoder


if __name__ == "__main__":
    main()
