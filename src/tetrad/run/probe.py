"""Whether a training has changed what the model predicts: one prediction before it, and the same one after it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tetrad.data.batches import Batch, TrainingSample, make_fixed_batch
from tetrad.diffusion.noise import corrupt
from tetrad.diffusion.randomness import generator
from tetrad.models import device as devices
from tetrad.models.base import Model, autocast_to_model_dtype, get_model_device
from tetrad.training.step import Condition

_TIME = 0.5  # as a quantile: half of the noise schedule's times are earlier


@dataclass(frozen=True)
class PredictionProbe:
    """The prediction (1, C, h, w) for a training image half-way through the noise, before the training."""

    model: Model
    condition: Condition
    batch: Batch
    z_t: Tensor
    t: Tensor
    rounded_z_t: Tensor  # z_t in half precision, in which most programs generate
    prediction: Tensor

    @classmethod
    def take(cls, model: Model, condition: Condition, sample: TrainingSample, seed: int) -> "PredictionProbe":
        """Predict for a sample with the weights as they are now."""
        device, rng = get_model_device(model), generator(seed, 0, "probe")
        batch = make_fixed_batch([sample]).to(device)
        t = model.noise.times(torch.tensor([_TIME])).to(device)
        eps = torch.randn(batch.latents.shape, generator=rng).to(device)
        z_t = corrupt(model.noise, batch.latents, eps, t)
        rounding = torch.randn(z_t.shape, generator=rng).to(device) * _get_rounding(model.dtype)
        before = _predict(model, condition, batch, z_t, t)
        return cls(model, condition, batch, z_t, t, z_t * (1 + rounding), before)

    def sees_change(self) -> bool:
        """Whether the model predicts something else now: more than what rounding its input to half precision changes.

        A smaller change is not visible in any image. The effect of rounding is measured now and not before the first
        step, which it would delay by a prediction; in a model that training has not changed it is the same.
        """
        after = _predict(self.model, self.condition, self.batch, self.z_t, self.t)
        rounded = _predict(self.model, self.condition, self.batch, self.rounded_z_t, self.t)
        return not _rms(after - self.prediction) <= _rms(rounded - after)  # NaN is a change too


def take_probe(
    model: Model, condition: Condition, samples: Sequence[TrainingSample], seed: int
) -> PredictionProbe | None:
    """The prediction before training; None where there is not enough memory for it."""
    try:
        subject = next(sample for sample in samples if not sample.is_class_image)
        return PredictionProbe.take(model, condition, subject, seed)
    except Exception as error:
        if not devices.is_memory_error(error):
            raise
    devices.free_memory(get_model_device(model))
    return None


@torch.no_grad()
def _predict(model: Model, condition: Condition, batch: Batch, z_t: Tensor, t: Tensor) -> Tensor:
    with autocast_to_model_dtype(model):
        return model.predict(z_t, t, condition(batch.captions, batch.micro_conditioning)).float()


def _get_rounding(dtype: torch.dtype) -> float:
    """The relative error of rounding to the dtype, or to float16 where the model is more exact."""
    return max(torch.finfo(dtype).eps, torch.finfo(torch.float16).eps) / 2


def _rms(difference: Tensor) -> float:
    return difference.square().mean().sqrt().item()
