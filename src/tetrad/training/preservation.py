"""Preservation: on generic captions and outside of masks, the target is the model's prediction before training."""

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
class Teacher:
    """The model before training.  `condition` encodes captions without training, its state in `without_training`."""

    condition: Condition
    without_training: Callable[[], AbstractContextManager[None]]

    @torch.no_grad()
    def predict(self, model: Model, noisy: NoisyBatch) -> Tensor:
        """What the model predicted before training, (n, C, h, w)."""
        with self.without_training():
            c = self.condition(noisy.batch.captions, noisy.batch.micro_conditioning)
            return model.predict(noisy.z_t, noisy.t, c)


@dataclass(frozen=True)
class Unmasking:
    """Takes the mask of a sample away with this probability, so that the whole image is trained at times."""

    probability: float

    def extend(self, model: Model, objective: Objective, noisy: NoisyBatch, rng: Generator) -> NoisyBatch:
        """The batch with some masks that are 1 everywhere."""
        mask = noisy.batch.mask
        if mask is None:
            return noisy
        chosen = (torch.rand(len(mask), generator=rng) < self.probability).to(mask.device)
        return replace(noisy, batch=replace(noisy.batch, mask=mask.masked_fill(chosen.view(-1, 1, 1, 1), 1.0)))


@dataclass(frozen=True)
class MaskedPrior:
    """Outside of the masks the target is the model's prediction before training.

    A sample's loss at a position with the mask m is m · (its own squared error) + (1 - m) · `weight` · (that from the
    prediction before). Both together are one error from a weighted mean of the targets, plus what does not depend on
    the training; with other errors than the squared one this is exact where masks are black and white. A loss that is
    divided by the sum of the mask would be smaller, so the sample's weight makes up for it.
    """

    weight: float
    teacher: Teacher

    def extend(self, model: Model, objective: Objective, noisy: NoisyBatch, rng: Generator) -> NoisyBatch:
        """The batch with other targets and masks; one pass without gradients more."""
        mask = noisy.batch.mask
        if mask is None:
            return noisy
        held = self.weight * (1 - mask)
        total = mask + held
        ones = torch.ones_like(mask)
        share = objective.reduce(ones, mask) / objective.reduce(mask / total, total)
        prior = self.teacher.predict(model, noisy).to(noisy.target.dtype)
        return replace(
            noisy,
            batch=replace(noisy.batch, mask=total, weight=noisy.batch.weight * share),
            target=((mask * noisy.target + held * prior) / total).to(noisy.target.dtype),
        )


@dataclass(frozen=True)
class Preservation:
    """Adds samples to a batch: its own latents with new noise and generic captions, as many as `samples`.

    Their loss is `weight` times their mean, beside the mean of the batch.
    """

    samples: int
    weight: float
    captions: Sequence[str]
    teacher: Teacher

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
        return noisy.join(replace(added, target=self.teacher.predict(model, added)))


def make_preservation(
    settings: PreserveSettings,
    unmasked_prior_weight: float,
    model: Model,
    adapter: Adapter,
    unmasked_probability: float = 0.0,
) -> Extend:
    """What holds the batches of a run to the model before training, whose state the adapter keeps where it is needed.

    0 samples add none, with a weight of 0 what a mask excludes is free, and a probability of 0 leaves out no mask.
    """
    teacher = Teacher(CaptionCache(model, offload=False), adapter.without_training)
    captions = settings.captions or GENERIC_CAPTIONS
    parts: list[Extend] = [Unmasking(unmasked_probability).extend] if unmasked_probability else []
    needs_teacher = settings.is_enabled or unmasked_prior_weight > 0
    if unmasked_prior_weight:
        parts.append(MaskedPrior(unmasked_prior_weight, teacher).extend)
    if settings.is_enabled:
        parts.append(Preservation(settings.samples, settings.weight, captions, teacher).extend)
    if needs_teacher:
        adapter.keep_original()

    def extend(model: Model, objective: Objective, noisy: NoisyBatch, rng: Generator) -> NoisyBatch:
        for part in parts:
            noisy = part(model, objective, noisy, rng)
        return noisy

    return extend
