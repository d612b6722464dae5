"""Preservation: on generic captions the target of a sample is the prediction of the model before training."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from tetrad.diffusion.objective import Objective
from tetrad.methods.base import Adapter
from tetrad.models.base import Model
from tetrad.settings.preserve import PreserveSettings
from tetrad.training.caption_cache import CaptionCache
from tetrad.training.gradients import Extend
from tetrad.training.step import Condition, NoisyBatch, add_noise

# Common things, without people's or places' names: what a subject or a style must not change.
_THINGS = """
person woman man child dog cat bird horse flower tree forest mountain lake sea beach sky house street city room car
train boat meal fruit chair toy
"""
GENERIC_CAPTIONS = (
    *(f"a photo of a {thing}" for thing in _THINGS.split()),
    *("a drawing", "a painting of a landscape", "a black and white photo", "an abstract pattern", ""),
)


@dataclass(frozen=True)
class Preservation:
    """Adds samples to a batch: its own latents with new noise and generic captions, as many as `samples`.

    Their loss is `weight` times their mean, beside the mean of the batch. `condition` encodes captions without
    training, which `without_training` makes the state of the model.
    """

    samples: int
    weight: float
    captions: Sequence[str]
    condition: Condition
    without_training: Callable[[], AbstractContextManager[None]]

    def extend(self, model: Model, objective: Objective, noisy: NoisyBatch, rng: Generator) -> NoisyBatch:
        """The batch with preserved samples at its end; all of it takes one forward pass."""
        batch = noisy.batch
        if not batch.subject_count:
            return noisy
        chosen = batch.take(slice(0, min(self.samples, batch.subject_count)))
        count = len(chosen.captions)
        numbers = torch.randint(len(self.captions), (count,), generator=rng).tolist()
        preserved = replace(
            chosen,
            captions=tuple(self.captions[number] for number in numbers),
            weight=torch.full_like(chosen.weight, self.weight * batch.subject_count / count),
            mask=None if chosen.mask is None else torch.ones_like(chosen.mask),
            class_image_count=count,
        )
        added = add_noise(model, objective, preserved, torch.rand(count, generator=rng), rng)
        return noisy.join(replace(added, target=self.predict_before(model, added)))

    @torch.no_grad()
    def predict_before(self, model: Model, noisy: NoisyBatch) -> Tensor:
        """What the model predicted before training, (n, C, h, w)."""
        with self.without_training():
            c = self.condition(noisy.batch.captions, noisy.batch.micro_conditioning)
            return model.predict(noisy.z_t, noisy.t, c)


def make_preservation(settings: PreserveSettings, model: Model, adapter: Adapter) -> Extend:
    """What adds preserved samples to the batches of a run; the adapter keeps what it needs for the state before."""
    adapter.keep_original()
    captions = settings.captions or GENERIC_CAPTIONS
    condition = CaptionCache(model, offload=False)
    return Preservation(settings.samples, settings.weight, captions, condition, adapter.without_training).extend
