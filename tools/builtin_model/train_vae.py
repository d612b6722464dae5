"""Train the built-in autoencoder from scratch; run it again to go on after an interruption."""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from artwork import Artwork, load_artwork
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from vae_model import new_autoencoder

from tetrad.builtin.drawings import SIDE, compose, random_background, random_colour, random_placement
from tetrad.builtin.vocabulary import BACKGROUNDS, HELD_OUT, STYLES, Pair
from tetrad.library import load_model

CROP = 64  # pixels a side; the network is a convolution, and crops show it more drawings an hour
CHECKPOINT = "vae.checkpoint.pt"
RESULT = "vae.trained.safetensors"


@dataclass(frozen=True)
class Schedule:
    """Counted in pictures. A run may be given another total when it goes on."""

    total: int
    batch: int
    warm_up: int = 1600
    peak: float = 1.5e-3
    clip: float = 1.0
    kl_weight: float = 1e-5
    colour_weight: float = 0.3
    average_half_life: int = 3000

    def left(self, seen: int) -> float:
        """1 at the start, 0 at `total`."""
        return max(0.0, 1 - seen / self.total)

    def learning_rate(self, seen: int) -> float:
        """Linear warm-up, then a cosine to zero at `total`."""
        warm = min(1.0, (seen + self.batch) / self.warm_up)
        return self.peak * warm * 0.5 * (1 - math.cos(math.pi * self.left(seen)))


@dataclass
class Run:
    """Everything that an interrupted run needs to go on."""

    autoencoder: AutoencoderKL
    average: AutoencoderKL
    optimizer: torch.optim.Optimizer
    seen: int = 0

    def save(self, path: Path) -> None:
        temporary = path.with_suffix(".tmp")
        state = {
            "autoencoder": self.autoencoder.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "seen": self.seen,
        }
        torch.save(state, temporary)
        temporary.replace(path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.autoencoder.load_state_dict(state["autoencoder"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.seen = state["seen"]


def new_run(seed: int, start: str, decoder_only: bool) -> Run:
    """An autoencoder, fresh or from a model's file, its running average, and AdamW."""
    torch.manual_seed(seed)
    autoencoder, average = new_autoencoder(), new_autoencoder().requires_grad_(False)
    # The noise in the latents starts small: at its usual size it would drown the first hundred steps.
    torch.nn.init.constant_(autoencoder.quant_conv.bias[4:].detach(), -5.0)
    if start:
        autoencoder.load_state_dict(load_model(start).vae.network.state_dict())
    if decoder_only:
        for part in (autoencoder.encoder, autoencoder.quant_conv):
            part.requires_grad_(False)
    average.load_state_dict(autoencoder.state_dict())
    parameters = [parameter for parameter in autoencoder.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    return Run(autoencoder, average, optimizer)


def training_pictures(artwork: Artwork, batch: int, seed: int, seen: int) -> Iterator[Tensor]:
    """Endless batches of crops (B, 3, 64, 64) in -1…1, nothing held out; the same for the same seed and place."""
    pairs = [pair for pair in artwork.index if pair.subject not in HELD_OUT and pair.drawing_set in STYLES]
    while True:
        rng = np.random.default_rng([seed, seen])
        chosen = [pairs[position] for position in rng.integers(0, len(pairs), batch)]
        yield as_tensor([random_picture(artwork, pair, rng) for pair in chosen])
        seen += batch


def random_picture(artwork: Artwork, pair: Pair, rng: np.random.Generator) -> np.ndarray:
    """A crop of a drawing on a named background, or, one time in three, on any colour."""
    colour = random_colour(rng) if rng.random() < 1 / 3 else BACKGROUNDS[random_background(rng)]
    placement = random_placement(rng, 0.55, 1.0)
    picture = compose(artwork[pair], colour, placement)
    top, left = rng.integers(0, SIDE - CROP + 1, 2)
    return picture[top : top + CROP, left : left + CROP]


def held_out_pictures(artwork: Artwork) -> Tensor:
    """Every held-out subject in every set, once (N, 3, 128, 128): drawings that training never shows."""
    rng = np.random.default_rng(0)
    pairs = [pair for pair in artwork.index if pair.subject in HELD_OUT]
    pictures = []
    for pair in pairs:
        colour = BACKGROUNDS[random_background(rng)]
        pictures.append(compose(artwork[pair], colour, random_placement(rng)))
    return as_tensor(pictures)


def as_tensor(pictures: list[np.ndarray]) -> Tensor:
    """(H, W, 3) in 0…255 each -> (B, 3, H, W) in -1…1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def error(restored: Tensor, images: Tensor) -> Tensor:
    """Errors of colours at four sizes, of differences between neighbours so that edges stay sharp, and of the PSNR."""
    difference = restored - images
    total = 0.5 * (difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean())
    for size in (1, 2, 4, 8):
        total = total + 0.5 * functional.avg_pool2d(difference, size).abs().mean()
    # PSNR is a mean of logarithms; the constant keeps crops of bare background from ruling it.
    return total + 0.1 * (difference.square().flatten(1).mean(1) + 0.002).log().mean()


def unread_colour(latents: Tensor, images: Tensor) -> Tensor:
    """The share of the blocks' mean brightness and hue (8 x 8 pixels each) that no linear map of the latents tells.

    Without it all four channels carry brightness for most of a short run, and the drawings come out gray.
    """
    red, green, blue = functional.avg_pool2d(images, images.shape[-1] // latents.shape[-1]).unbind(1)
    asked = torch.stack([red + green + blue, red - green, blue - (red + green) / 2], -1).flatten(0, -2)
    known = latents.movedim(1, -1).flatten(0, -2)
    asked, known = asked - asked.mean(0), known - known.mean(0)
    # As much is added to the diagonal as to say that a tenth of a latent's deviation is noise.
    ridge = 0.01 * torch.eye(known.shape[1])
    crossed = known.T @ asked / len(known)
    told = (crossed * torch.linalg.solve(known.T @ known / len(known) + ridge, crossed)).sum(0)
    return 1 - (told / asked.square().mean(0)).mean()


def step(run: Run, images: Tensor, schedule: Schedule, half: bool) -> float:
    """One batch: forward, backward, update, average; the loss."""
    rng = torch.Generator().manual_seed(run.seen)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        posterior = run.autoencoder.encode(images).latent_dist
        restored = run.autoencoder.decode(posterior.sample(rng)).sample
    loss = error(restored.float(), images)
    if posterior.mean.requires_grad:
        kl = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
        colour = unread_colour(posterior.mean.float(), images)
        loss = loss + schedule.kl_weight * kl + schedule.colour_weight * schedule.left(run.seen) * colour
    for group in run.optimizer.param_groups:
        group["lr"] = schedule.learning_rate(run.seen)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.autoencoder.parameters(), schedule.clip)
    run.optimizer.step()
    run.optimizer.zero_grad()
    run.seen += len(images)
    # Early weights are soon forgotten, so that the average is of use from the start.
    decay = min(0.5 ** (len(images) / schedule.average_half_life), run.seen / (run.seen + 10 * len(images)))
    torch._foreach_lerp_(list(run.average.parameters()), list(run.autoencoder.parameters()), 1 - decay)
    return float(loss.detach())


@torch.no_grad()
def restored(autoencoder: AutoencoderKL, images: Tensor, batch: int = 32) -> Tensor:
    """Pictures after encoding and decoding, clipped to -1…1."""
    pieces = [autoencoder.decode(autoencoder.encode(part).latent_dist.mean).sample for part in images.split(batch)]
    return torch.cat(pieces).clamp(-1, 1)


def psnr(output: Tensor, images: Tensor) -> float:
    """Mean over pictures of 10 log10(peak² / mean square error), in dB."""
    square_error = ((output - images) / 2).square().flatten(1).mean(1)
    return float((-10 * square_error.clamp_min(1e-8).log10()).mean())


def train(run: Run, artwork: Artwork, schedule: Schedule, work: Path, seed: int, half: bool) -> None:
    """Until the schedule ends; saves every two minutes, reports the held-out PSNR every three."""
    test = held_out_pictures(artwork)
    saved = reported = started = time.monotonic()
    first = run.seen
    for images in training_pictures(artwork, schedule.batch, seed, run.seen):
        if run.seen >= schedule.total:
            break
        loss = step(run, images, schedule, half)
        if (run.seen // schedule.batch) % 50 == 0:
            speed = (time.monotonic() - started) / (run.seen - first)
            print(f"{run.seen}/{schedule.total} loss {loss:.4f}, {1000 * speed:.1f} ms a picture", flush=True)
        if time.monotonic() - saved > 120:
            saved = time.monotonic()
            run.save(work / CHECKPOINT)
        if time.monotonic() - reported > 180:
            reported = time.monotonic()
            print(f"{run.seen} held-out PSNR {psnr(restored(run.average, test), test):.2f} dB", flush=True)
    run.save(work / CHECKPOINT)
    print(f"{run.seen} held-out PSNR {psnr(restored(run.average, test), test):.2f} dB at the end", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=int, default=80_000, help="pictures in the whole run; may differ on resuming")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--start", default="", help="a model whose autoencoder to go on from; builtin is the shipped one"
    )
    parser.add_argument("--decoder-only", action="store_true", help="the latents stay as they are")
    parser.add_argument("--full-precision", action="store_true", help="no bfloat16")
    arguments = parser.parse_args()
    run = new_run(arguments.seed, arguments.start, arguments.decoder_only)
    if (arguments.work / CHECKPOINT).exists():
        run.load(arguments.work / CHECKPOINT)
        print(f"going on at {run.seen} pictures", flush=True)
    schedule = Schedule(arguments.images, arguments.batch, colour_weight=0.0 if arguments.start else 0.3)
    train(run, load_artwork(arguments.work), schedule, arguments.work, arguments.seed, not arguments.full_precision)
    weights = {name: value.contiguous() for name, value in run.average.state_dict().items()}
    temporary = arguments.work / "vae.trained.tmp"
    save_file(weights, temporary)
    temporary.replace(arguments.work / RESULT)


if __name__ == "__main__":
    main()
