"""What generating an image computes, counted like a training step on torch's meta device."""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from tetrad.estimate.speed import DeviceSpeed, estimate_seconds
from tetrad.estimate.step_cost import copy_to_meta
from tetrad.models.base import Model

_META = torch.device("meta")


@dataclass(frozen=True)
class ImageCost:
    """Multiplications and additions for an image at the model's own resolution; texts are encoded once, for nothing."""

    prediction: int  # for one prompt in one sampling step
    decoding: int  # by the VAE


def measure_image_cost(model: Model) -> ImageCost:
    """Count a prediction and the decoding of an image; the model itself is not changed."""
    meta_model = copy_to_meta(model)
    side = model.resolution // model.vae.downsampling_factor
    z = torch.zeros(1, model.latent_channels, side, side, device=_META)
    with torch.no_grad():
        c = meta_model.condition(["a photo"])
        with FlopCounterMode(display=False) as prediction:
            meta_model.predict(z, torch.zeros(1, dtype=torch.long, device=_META), c)
        with FlopCounterMode(display=False) as decoding:
            meta_model.vae.network.decode(z)
    return ImageCost(prediction.get_total_flops(), decoding.get_total_flops())


def estimate_image_seconds(cost: ImageCost, device_speed: DeviceSpeed, steps: int, uses_guidance: bool) -> float:
    """The duration of one image with this many sampling steps, accurate to about a third; guidance doubles them."""
    predictions = steps * (2 if uses_guidance else 1)
    return estimate_seconds(predictions * cost.prediction + cost.decoding, device_speed)
