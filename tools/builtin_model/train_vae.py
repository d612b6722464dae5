"""Train the built-in VAE for a given time; run it again to continue after an interruption."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from artwork import Artwork, load_artwork
from clock import StageClock
from crops import Crops, CropSource
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from vae_model import WIDTHS, load_autoencoder, new_autoencoder

from tetrad.builtin.drawings import BACKGROUNDS, IMAGE_SIDE, compose_image, random_background, random_placement
from tetrad.builtin.vocabulary import HELD_OUT_SUBJECTS, STYLE_WORDS, SubjectStylePair
from tetrad.diffusion.randomness import generator

CROP = 64  # pixels a side; the VAE is convolutional, so crops are enough for most of the training, and faster
WHOLE_AFTER = 0.7  # share of the time after which whole images are used: attention sees as many latents as in use
CHECKPOINT, RESULT = "vae.checkpoint.pt", "vae.trained.safetensors"


@dataclass(frozen=True)
class Settings:
    """Learning rate and loss weights; lengths are in images."""

    batch: int = 16
    peak: float = 1.5e-3
    warmup_steps: int = 100
    clip: float = 1.0
    kl_weight: float = 1e-5
    colour_weight: float = 0.3  # at the start of a training from scratch
    background_weight: float = 0.5
    latent_noise: float = 0.05  # at most, in deviations of the latents: what the U-Net gets wrong in a background
    average_half_life: int = 3000
    sizes: int = 3  # in which each drawing is kept
    decoder_only: bool = False  # so that latents stay the same, and a U-Net can be used as it is


class Run:
    """Everything that a run needs to continue."""

    def __init__(self, work: Path, settings: Settings, clock: StageClock, autoencoder: AutoencoderKL, scratch: bool):
        self.path, self.settings, self.clock, self.seen, self.steps = work / CHECKPOINT, settings, clock, 0, 0
        self.colour_weight = settings.colour_weight if scratch else 0.0
        self.autoencoder = autoencoder.requires_grad_(True).train()
        if settings.decoder_only:
            autoencoder.encoder.requires_grad_(False)
            autoencoder.quant_conv.requires_grad_(False)
        self.average = load_autoencoder(autoencoder.state_dict()).to(autoencoder.device)
        self.parameters = [parameter for parameter in autoencoder.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=0.0, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)

    def save(self) -> None:
        temporary = self.path.with_suffix(".tmp")
        state = {
            "autoencoder": self.autoencoder.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "counts": [self.seen, self.steps],
            "seconds": self.clock.seconds,
            "colour_weight": self.colour_weight,
        }
        torch.save(state, temporary)
        temporary.replace(self.path)

    def load(self) -> None:
        state = torch.load(self.path, weights_only=True, map_location=self.autoencoder.device)
        self.autoencoder.load_state_dict(state["autoencoder"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        (self.seen, self.steps), self.colour_weight = state["counts"], state["colour_weight"]
        self.clock.continue_after(state["seconds"])


def list_training_pairs(artwork: Artwork) -> list[SubjectStylePair]:
    """Every drawing in a trained style, without held-out subjects."""
    return [pair for pair in artwork.index if pair.subject not in HELD_OUT_SUBJECTS and pair.drawing_set in STYLE_WORDS]


def held_out_images(artwork: Artwork) -> Tensor:
    """Every held-out subject in every set (N, 3, 128, 128), none of which is trained on."""
    rng = np.random.default_rng(0)
    images = []
    for pair in artwork.index:
        if pair.subject in HELD_OUT_SUBJECTS:
            colour = BACKGROUNDS[random_background(rng)]
            images.append(compose_image(artwork[pair], colour, random_placement(rng)))
    return as_tensor(images)


def as_tensor(images: list[np.ndarray]) -> Tensor:
    """Images (H, W, 3) in 0…255 -> (B, 3, H, W) in -1…1."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction_loss(output: Tensor, crops: Crops, background_weight: float) -> Tensor:
    """Colour errors at four scales, errors of pixel differences (for sharp edges), the background, and the PSNR."""
    difference = output - crops.images
    total = 0.5 * (difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean())
    for size in (1, 2, 4, 8):
        total = total + 0.5 * functional.avg_pool2d(difference, size).abs().mean()
    total = total + background_weight * (difference.abs() * crops.is_background).mean()
    # PSNR is a mean of logarithms; the constant keeps crops of plain background from dominating it.
    return total + 0.1 * (difference.square().flatten(1).mean(1) + 0.001).log().mean()


def colour_loss(latents: Tensor, images: Tensor) -> Tensor:
    """The share of the variance of brightness and hue, in blocks of 8 x 8 pixels, that latents do not explain linearly.

    Without it, in a short run, all four channels encode brightness for most of the time, and drawings come out gray.
    """
    red, green, blue = functional.avg_pool2d(images, images.shape[-1] // latents.shape[-1]).unbind(1)
    target = torch.stack([red + green + blue, red - green, blue - (red + green) / 2], -1).flatten(0, -2)
    predictors = latents.movedim(1, -1).flatten(0, -2)
    target, predictors = target - target.mean(0), predictors - predictors.mean(0)
    # This ridge treats a tenth of a latent's standard deviation as noise.
    ridge = 0.01 * torch.eye(predictors.shape[1], device=latents.device)
    covariance = predictors.T @ target / len(predictors)
    gram = predictors.T @ predictors / len(predictors)
    explained = (covariance * torch.linalg.solve(gram + ridge, covariance)).sum(0)
    return 1 - (explained / target.square().mean(0)).mean()


def train_step(run: Run, crops: Crops, half: bool) -> Tensor:
    """Train on one batch and update the EMA; returns the loss, on the device."""
    settings, images = run.settings, crops.images
    rng = generator(0, run.steps, "latents")
    with torch.autocast(images.device.type, torch.bfloat16, enabled=half):
        posterior = run.autoencoder.encode(images).latent_dist
        mean, deviation = posterior.mean.float(), posterior.std.float()
        # Half of the decoder's latents get noise of a random size, so that small errors of the U-Net are not seen.
        amount = settings.latent_noise * (2 * torch.rand(len(images), 1, 1, 1, generator=rng) - 1).clamp(min=0)
        spread = mean.detach().std((0, 2, 3), keepdim=True)
        scale = (deviation.square() + (amount.to(mean.device) * spread).square()).sqrt()
        output = run.autoencoder.decode(mean + scale * torch.randn(mean.shape, generator=rng).to(mean.device)).sample
    loss = reconstruction_loss(output.float(), crops, settings.background_weight)
    kl = 0.5 * (mean.square() + deviation.square() - 1 - 2 * deviation.log()).mean()
    loss = loss + settings.kl_weight * kl
    if run.colour_weight:
        loss = loss + run.colour_weight * (1 - run.clock.progress) * colour_loss(mean, images)
    run.steps += 1
    for group in run.optimizer.param_groups:
        group["lr"] = settings.peak * run.clock.learning_rate_factor(run.steps, settings.warmup_steps)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.parameters, settings.clip)
    run.optimizer.step()
    run.optimizer.zero_grad()
    run.seen += len(images)
    # The decay starts low, so that the average is useful from the start.
    decay = min(0.5 ** (len(images) / settings.average_half_life), run.steps / (run.steps + 10))
    with torch.no_grad():
        torch._foreach_lerp_(list(run.average.parameters()), list(run.autoencoder.parameters()), 1 - decay)
    return loss.detach()


@torch.no_grad()
def reconstruct(autoencoder: AutoencoderKL, images: Tensor, batch: int = 32) -> Tensor:
    """Images after encoding and decoding, clipped to -1…1, on the CPU."""
    parts = (part.to(autoencoder.device) for part in images.split(batch))
    return torch.cat(
        [autoencoder.decode(autoencoder.encode(each).latent_dist.mean).sample.clamp(-1, 1).cpu() for each in parts]
    )


def psnr(output: Tensor, images: Tensor) -> float:
    """Mean over images of 10 log10(peak² / mean square error), in dB."""
    square_error = ((output - images) / 2).square().flatten(1).mean(1)
    return float((-10 * square_error.clamp_min(1e-8).log10()).mean())


def train(run: Run, source: CropSource, test: Tensor, half: bool, max_steps: int = 0) -> None:
    """Train until the time is used up; saves every two minutes, and prints the held-out PSNR then."""
    first, begun, settings = run.seen, run.clock.seconds, run.settings
    while run.clock.progress < 1 and not (max_steps and run.steps >= max_steps):
        is_whole = run.clock.progress >= WHOLE_AFTER
        count = max(4, settings.batch * CROP**2 // IMAGE_SIDE**2) if is_whole else settings.batch
        crops = source.sample(count, IMAGE_SIDE if is_whole else CROP, generator(0, run.steps, "crops"))
        loss = train_step(run, crops, half)
        if run.steps % 100 == 0:
            speed = (run.seen - first) / (run.clock.seconds - begun)
            print(f"{run.clock.progress:.0%} {run.seen} images, loss {loss:.4f}, {speed:.1f} per second", flush=True)
        if run.clock.is_save_due():
            run.save()
            print(f"{run.seen} held-out PSNR {psnr(reconstruct(run.average, test), test):.2f} dB", flush=True)
    run.save()
    print(f"{run.seen} held-out PSNR {psnr(reconstruct(run.average, test), test):.2f} dB at the end", flush=True)


def train_stage(
    work: Path, minutes: float, device: torch.device, settings: Settings, widths: tuple[int, ...], start: str,
    half: bool = True, max_steps: int = 0,
) -> None:  # fmt: skip
    """Train the VAE in the work folder, from scratch or from the file `start` in it, and write its EMA."""
    artwork = load_artwork(work)
    source = CropSource(artwork, list_training_pairs(artwork), settings.sizes, device)
    clock = StageClock(minutes, device.type)
    torch.manual_seed(0)
    autoencoder = load_autoencoder(load_file(work / start)) if start else new_autoencoder(widths)
    if not start:
        # The latents' noise starts small; at its usual size the first hundred steps would see little else.
        torch.nn.init.constant_(autoencoder.quant_conv.bias[4:].detach(), -5.0)
    run = Run(work, settings, clock, autoencoder.to(device), scratch=not start)
    if run.path.exists():
        run.load()
        print(f"continuing after {run.seen} images and {clock.used:.0f} s", flush=True)
    train(run, source, held_out_images(artwork), half, max_steps)
    weights = {name: value.float().cpu().contiguous() for name, value in run.average.state_dict().items()}
    save_file(weights, work / "vae.trained.tmp")
    (work / "vae.trained.tmp").replace(work / RESULT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="of the whole training; may differ when it continues"
    )
    parser.add_argument("--batch", type=int, default=Settings.batch)
    parser.add_argument("--peak", type=float, default=Settings.peak, help="the highest learning rate")
    parser.add_argument("--widths", type=int, nargs=4, default=WIDTHS)
    parser.add_argument("--start", default="", help="a file in the work folder to continue from: vae.safetensors")
    parser.add_argument(
        "--decoder-only", action="store_true", help="leave the encoder, and so the latents, as they are"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--full-precision", action="store_true", help="float32 instead of bfloat16")
    arguments = parser.parse_args()
    settings = Settings(batch=arguments.batch, peak=arguments.peak, decoder_only=arguments.decoder_only)
    train_stage(
        arguments.work, arguments.minutes, torch.device(arguments.device), settings, tuple(arguments.widths),
        arguments.start, not arguments.full_precision,
    )  # fmt: skip


if __name__ == "__main__":
    main()
