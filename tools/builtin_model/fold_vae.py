"""Fold the mean and deviation of the latents into the trained VAE, and write `vae.safetensors`."""

import argparse
import copy
from pathlib import Path

import torch
from artwork import load_artwork
from crops import CropSource
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor
from train_vae import RESULT, held_out_images, list_training_pairs, psnr, reconstruct
from vae_model import SCALING_FACTOR, fold_statistics, load_autoencoder, make_transform

from tetrad.builtin.drawings import IMAGE_SIDE
from tetrad.diffusion.randomness import generator

FOLDED = "vae.safetensors"


def fold(work: Path, image_count: int, device: torch.device, like: str = "") -> float:
    """Fold, check, write and return the held-out PSNR in dB; `like` is a file of a VAE with latents to be near to."""
    artwork = load_artwork(work)
    autoencoder = load_autoencoder(load_file(work / RESULT)).to(device)
    source = CropSource(artwork, list_training_pairs(artwork), 1, device)
    images = source.sample(image_count, IMAGE_SIDE, generator(1, 0, "fold")).images.cpu()
    latents, target = encode_means(autoencoder, images), None
    if like:
        target = encode_means(load_autoencoder(load_file(work / like)).to(device), images) * SCALING_FACTOR
    mean, transform = make_transform(latents, target)
    folded = copy.deepcopy(autoencoder)
    fold_statistics(folded, mean.to(device), transform.to(device))
    check(autoencoder, folded, images)
    if target is not None:
        distance = (encode_means(folded, images) * SCALING_FACTOR - target).square().mean()
        print(f"mean square distance from the latents of {like}: {distance:.3f}; 2 would be no relation")
    save_folded(folded.cpu(), work / FOLDED)
    test = held_out_images(artwork)
    value = psnr(reconstruct(folded, test), test)
    print(f"held-out PSNR {value:.2f} dB, {len(test)} images", flush=True)
    return value


@torch.no_grad()
def encode_means(autoencoder: AutoencoderKL, images: Tensor) -> Tensor:
    """Posterior means (N, 4, h, w), not scaled, on the CPU."""
    parts = (part.to(autoencoder.device) for part in images.split(64))
    return torch.cat([autoencoder.encode(part).latent_dist.mean.cpu() for part in parts])


def check(before: AutoencoderKL, after: AutoencoderKL, images: Tensor) -> None:
    """Check that reconstructions did not change, and that scaled latents have mean 0 and deviation 1."""
    scaled = encode_means(after, images) * SCALING_FACTOR
    mean, deviation = scaled.mean((0, 2, 3)), scaled.std((0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(4), atol=2e-3, rtol=0)
    torch.testing.assert_close(deviation, torch.ones(4), atol=2e-3, rtol=0)
    part = images[:64]
    difference = (reconstruct(before, part) - reconstruct(after, part)).abs().max()
    if difference > 2e-3:
        raise SystemExit(f"folding changed the images by up to {difference:.2g}")
    print(f"scaled latents: mean {mean.tolist()}, deviation {deviation.tolist()}")
    print(f"folding changed the images by {difference:.2g} at most")


def save_folded(autoencoder: AutoencoderKL, path: Path) -> None:
    """Write the VAE in float32, under the tensor names of diffusers."""
    weights = {name: value.float().contiguous() for name, value in autoencoder.state_dict().items()}
    temporary = path.with_suffix(".tmp")
    save_file(weights, temporary, metadata={"format": "pt"})
    temporary.replace(path)


def load_folded(work: Path) -> AutoencoderKL:
    """The finished VAE, frozen."""
    return load_autoencoder(load_file(work / FOLDED))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument(
        "--like", default="", help="a VAE in the work folder; latents are rotated to be near to its own"
    )
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    fold(arguments.work, arguments.images, torch.device(arguments.device), arguments.like)


if __name__ == "__main__":
    main()
