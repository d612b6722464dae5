"""A VAE's decoder learns to draw what its encoder saw; the encoder, and so every latent, stays as it is.

So vae-ft-mse was made of Stable Diffusion's first VAE. Any model of the family then draws through the new decoder.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.models.vae import Vae
from tetrad.training.ema import Ema
from tetrad.training.optimizers import adamw

LEVELS = 3  # of detail: 1, 2 and 4 pixels


@dataclass(frozen=True)
class DecoderTraining:
    """How long, on what, how fast."""

    steps: int = 1000  # updates
    batch_size: int = 4  # crops in a batch
    crop: int = 256  # side of the crops in pixels, a multiple of 8
    learning_rate: float = 3e-5  # of the decoder
    detail: float = 0.1  # how much fine detail counts beside the squared error
    ema_decay: float = 0.999  # of the average that is saved; 0: the last weights
    seed: int = 0  # all randomness comes from it

    def __post_init__(self) -> None:
        for name, good, what in (
            ("steps", 1 <= self.steps <= 1_000_000, "from 1 to 1000000; 1000 is usual"),
            ("batch_size", 1 <= self.batch_size <= 256, "from 1 to 256; 4 is usual"),
            ("crop", self.crop % 8 == 0 and 64 <= self.crop <= 1024, "a multiple of 8 from 64 to 1024; 256 is usual"),
            ("learning_rate", 0 < self.learning_rate <= 0.01, "above 0 and at most 0.01; 3e-5 is usual"),
            ("detail", 0 <= self.detail <= 10, "from 0 to 10; 0.1 is usual"),
            ("ema_decay", 0 <= self.ema_decay < 1, "from 0 to below 1; 0.999 is usual"),
        ):
            if not good:
                raise TetradError("E5211", f"{name.replace('_', '-')} must be {what}, not {getattr(self, name)}")


@dataclass(frozen=True)
class Update:
    """One update done: its number from 1, its loss, the gradient's norm before clipping."""

    number: int
    loss: float
    grad_norm: float


def decoder_steps(vae: Vae, crops: Callable[[int], Tensor], settings: DecoderTraining, ema: Ema) -> Iterator[Update]:
    """An update for each of `crops(step)`, pictures (B, 3, H, W) in 0…1; `ema` follows the decoder's weights.

    Latents are drawn as training draws them, so that the decoder knows the encoder's doubt. Raises E7001 before an
    update where the loss is not a number.
    """
    learning = list(vae.network.decoder.parameters())
    optimizer = adamw({"decoder": learning}, {"decoder": settings.learning_rate}, 0.0)
    for number in range(1, settings.steps + 1):
        wanted = crops(number).to(vae.network.device)
        mean, std = vae.encode(wanted)
        noise = torch.randn(mean.shape, generator=generator(settings.seed, number, "decoder"))
        z = (mean + std * noise.to(mean.device)) / vae.scale
        loss = reconstruction(vae.network.decode(z).sample / 2 + 0.5, wanted, settings.detail)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(learning, 1.0)
        if not norm.isfinite():
            raise TetradError("E7001", f"the loss is no longer a number at step {number}; lower the learning rate")
        optimizer.step()
        ema.update(learning)
        yield Update(number, loss.item(), norm.item())


def reconstruction(found: Tensor, wanted: Tensor, detail: float) -> Tensor:
    """Mean square of the error, and `detail` times the mean size of what each scale of a pyramid holds of it."""
    error = found - wanted
    bands = error.new_zeros(())
    coarse = error
    for _ in range(LEVELS):
        smaller = F.avg_pool2d(coarse, 2)
        bands = bands + (coarse - F.interpolate(smaller, scale_factor=2.0, mode="nearest")).abs().mean()
        coarse = smaller
    return error.square().mean() + detail / LEVELS * bands
