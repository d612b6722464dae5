"""Training of a VAE's decoder to reconstruct images; the encoder is frozen, so latents stay the same.

vae-ft-mse was made this way from Stable Diffusion's first VAE. Every model of the family can use the new decoder.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from tetrad.diffusion.randomness import generator
from tetrad.methods.base import ParamGroup
from tetrad.models.vae import Vae
from tetrad.settings.vae_decoder import DecoderTrain
from tetrad.training.ema import Ema
from tetrad.training.loop import Step
from tetrad.training.optimizers import create_adamw
from tetrad.training.update import HalfUpdate, StandardUpdate, create_state

_PYRAMID_LEVELS = 3  # detail of 1, 2 and 4 pixels
_MAX_GRAD_NORM = 1.0


def create_decoder_optimizer(vae: Vae, settings: DecoderTrain) -> Optimizer:
    """AdamW without weight decay over the decoder's weights."""
    return create_adamw([ParamGroup("decoder", list(vae.network.decoder.parameters()))], settings.learning_rate, 0.0)


def decoder_training_steps(
    vae: Vae,
    crops: Callable[[int], Tensor],
    optimizer: Optimizer,
    settings: DecoderTrain,
    ema: Ema | None = None,
    updates_before: int = 0,
    samples_at_once: int = 0,
) -> Iterator[Step]:
    """An update for each of `crops(step)`, images (B, 3, H, W) in 0…1; `ema` averages the decoder's weights.

    Latents are sampled from the encoder's distribution, as when a model is trained, so that the decoder sees their
    variance. `samples_at_once` limits the images that are decoded together, 0 for no limit. A step whose loss or
    gradient is NaN or Inf changes nothing. Raises HalfUpdate where an update fails in the middle.
    """
    parameters = list(vae.network.decoder.parameters())
    updater = StandardUpdate(optimizer, _MAX_GRAD_NORM)
    create_state(optimizer)
    try:
        for number in range(updates_before + 1, settings.steps + 1):
            images = crops(number).to(vae.network.device)
            noise = torch.randn(_latent_shape(vae, images), generator=generator(settings.seed, number, "decoder"))
            total = torch.zeros((), device=images.device)
            size = samples_at_once or len(images)
            for first in range(0, len(images), size):
                part, part_noise = images[first : first + size], noise[first : first + size]
                loss = _part_loss(vae, part, part_noise, settings.detail) * (len(part) / len(images))
                updater.backward(loss)
                total += loss.detach()
            norm, diverged, skipped = updater.finish()
            if ema is not None and not skipped:
                ema.update(parameters)
            updater.has_begun = False
            yield Step(number, (settings.learning_rate,), total, norm, diverged)
    except Exception as error:
        if updater.has_begun:
            raise HalfUpdate from error
        raise
    finally:
        updater.close()


def _latent_shape(vae: Vae, images: Tensor) -> tuple[int, ...]:
    height, width = (side // vae.downsampling_factor for side in images.shape[-2:])
    return len(images), vae.channels, height, width


def _part_loss(vae: Vae, images: Tensor, noise: Tensor, detail_weight: float) -> Tensor:
    """The loss of reconstructing images from latents with this noise."""
    mean, std = vae.encode(images)
    z = (mean + std * noise.to(mean.device)) / vae.scaling_factor
    return reconstruction_loss(vae.network.decode(z).sample / 2 + 0.5, images, detail_weight)


def reconstruction_loss(output: Tensor, target: Tensor, detail_weight: float) -> Tensor:
    """Mean squared error, plus `detail_weight` times the mean absolute error of each level of a Laplacian pyramid."""
    error = output - target
    detail_error = error.new_zeros(())
    residual = error
    for _ in range(_PYRAMID_LEVELS):
        smaller = F.avg_pool2d(residual, 2)
        detail_error = detail_error + (residual - F.interpolate(smaller, scale_factor=2.0, mode="nearest")).abs().mean()
        residual = smaller
    return error.square().mean() + detail_weight / _PYRAMID_LEVELS * detail_error
