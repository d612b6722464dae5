"""Measure a model while it is trained, without generating images: losses of fixed images, and drift.

Every measurement uses the same images, captions, times and noise, so that two of them differ only by what was trained.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tetrad.data.batches import Batch, TrainingSample, make_fixed_batch
from tetrad.data.captions.captions import contains_word
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator
from tetrad.judging.scores import Score
from tetrad.models.base import Model, autocast_to_model_dtype, get_model_device
from tetrad.training.step import Condition, NoisyBatch, add_noise, denoising_loss

BAND = (0.15, 0.45)  # quantiles of the noise schedule: there the loss of held-out images says most about likeness
_DRIFT_TIMES = (0.7, 0.95)  # quantiles too: at much noise, a caption decides what an image will show
_GENERIC_CAPTIONS = (
    *("a house", "a dog", "a red apple", "a woman", "a car", "a tree", "a bird", "a blue cup"),
    *("a fish", "a boat", "a flower", "a man"),  # in place of those that contain the trigger word
)
_CAPTION_COUNT = 8
# The plain squared error, whatever the loss of the run is: it is comparable between runs, and has the least variance.
_OBJECTIVE = Objective()


@dataclass(frozen=True)
class Probe:
    """Everything that is measured of one model."""

    losses: Mapping[str, "LossProbe"]  # by the name of the score
    drift: "DriftProbe"
    samples_at_once: int

    @classmethod
    def make(
        cls,
        model: Model,
        samples: Sequence[TrainingSample],
        held_out: Sequence[TrainingSample],
        predictions: int,
        trigger_word: str,
        seed: int,
        samples_at_once: int,
    ) -> "Probe":
        """Prepare measurements of so many predictions each; the model is still untouched."""
        of_drift = 2 * min(_CAPTION_COUNT, max(2, predictions // 8))
        of_losses = max(1, (predictions - of_drift) // 2)
        images = {"training_loss": samples} | ({"held_out_loss": held_out} if held_out else {})
        losses = {name: LossProbe.make(model, found, of_losses, seed, name) for name, found in images.items()}
        drift = DriftProbe.make(model, samples, of_drift, trigger_word, seed, samples_at_once)
        return cls(losses, drift, samples_at_once)

    def measure(
        self, model: Model, condition: Condition, before: Mapping[str, Tensor] | None = None
    ) -> tuple[dict[str, Score], dict[str, Tensor]]:
        """The scores of the model as it is now, and the loss of each pair of an image and a time.

        `before` are these losses at the start of the run; without them, the run starts now.
        """
        losses = {name: probe.measure(model, condition, self.samples_at_once) for name, probe in self.losses.items()}
        scores = {name: average_with_change(losses[name], (before or losses)[name]) for name in losses}
        return scores | {"drift": self.drift.measure(model, condition, self.samples_at_once)}, losses


@dataclass(frozen=True)
class LossProbe:
    """The denoising loss of fixed images in the band of times."""

    noisy: Sequence[NoisyBatch]

    @classmethod
    def make(
        cls,
        model: Model,
        samples: Sequence[TrainingSample],
        count: int,
        seed: int,
        purpose: str,
        band: tuple[float, float] = BAND,
    ) -> "LossProbe":
        """`count` pairs of an image and a time; the times are spread evenly over the band."""
        low, high = band
        u = low + (high - low) * (torch.arange(count) + 0.5) / count
        return cls(_add_fixed_noise(model, _take_in_turn(samples, count), u, seed, purpose))

    @torch.no_grad()
    def measure(self, model: Model, condition: Condition, samples_at_once: int) -> Tensor:
        """The loss of each pair, (n,), on the CPU."""
        with autocast_to_model_dtype(model):
            parts = _iterate_parts(self.noisy, samples_at_once, get_model_device(model))
            return torch.cat([denoising_loss(model, condition, _OBJECTIVE, part).cpu() for part in parts])


@dataclass(frozen=True)
class DriftProbe:
    """How much what the model predicts for captions without the trigger word has changed, mean ‖f - f₀‖² / ‖f₀‖².

    The network sees noise alone (z = 0): in noisy training images, what it has learned about these would count too.
    """

    noisy: Sequence[NoisyBatch]
    base: Sequence[Tensor]  # f₀, what the untouched base model predicts: of each pair, on the CPU

    @classmethod
    def make(
        cls,
        model: Model,
        samples: Sequence[TrainingSample],
        count: int,
        trigger_word: str,
        seed: int,
        samples_at_once: int,
    ) -> "DriftProbe":
        """`count` pairs of a caption and a time, shaped like training images; the model is still untouched."""
        captions = [text for text in _GENERIC_CAPTIONS if not trigger_word or not contains_word(text, trigger_word)]
        texts = [captions[number // 2 % _CAPTION_COUNT] for number in range(count)]
        u = torch.tensor(_DRIFT_TIMES).repeat(-(-count // 2))[:count]
        noisy = _add_fixed_noise(model, _take_in_turn(samples, count), u, seed, "drift", texts)
        return cls(noisy, _predict(model, model.condition, noisy, samples_at_once))

    def measure(self, model: Model, condition: Condition, samples_at_once: int) -> Score:
        predictions = _predict(model, condition, self.noisy, samples_at_once)
        pairs = zip(predictions, self.base, strict=True)
        changes = torch.stack([(now - base).square().mean() for now, base in pairs])
        scale = torch.stack([base.square().mean() for base in self.base]).mean()
        return average(changes / scale)


def average(values: Tensor) -> Score:
    """The mean of values (n,), and its standard error where there are several."""
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else None
    return Score(values.mean().item(), error)


def average_with_change(values: Tensor, before: Tensor) -> Score:
    """The mean of values (n,), and the standard error of its change since `before`."""
    return replace(average(values - before), value=values.mean().item())


def _take_in_turn(samples: Sequence[TrainingSample], count: int) -> list[TrainingSample]:
    """So many of the samples, spread over all of them, or each of them several times."""
    return [samples[number * max(1, len(samples) // count) % len(samples)] for number in range(count)]


def _add_fixed_noise(
    model: Model,
    samples: Sequence[TrainingSample],
    u: Tensor,
    seed: int,
    purpose: str,
    captions: Sequence[str] | None = None,
) -> list[NoisyBatch]:
    """The samples with noise at their quantiles u (n,), one batch for each shape; with other captions, noise alone."""
    rng = generator(seed, 0, f"judge {purpose}")
    by_shape: dict[torch.Size, list[int]] = {}
    for number, sample in enumerate(samples):
        by_shape.setdefault(sample.shape, []).append(number)
    noisy = []
    for numbers in by_shape.values():
        batch = make_fixed_batch([samples[number] for number in numbers])
        if captions is not None:
            latents, texts = torch.zeros_like(batch.latents), tuple(captions[number] for number in numbers)
            batch = replace(batch, latents=latents, captions=texts)
        noisy.append(add_noise(model, _OBJECTIVE, batch, u[numbers], rng))
    return noisy


def _iterate_parts(noisy: Sequence[NoisyBatch], samples_at_once: int, device: torch.device) -> Iterator[NoisyBatch]:
    for each in noisy:
        for part in each.split(samples_at_once):
            batch: Batch = part.batch.to(device)
            yield NoisyBatch(batch, part.t.to(device), part.target.to(device), part.z_t.to(device))


@torch.no_grad()
def _predict(model: Model, condition: Condition, noisy: Sequence[NoisyBatch], samples_at_once: int) -> list[Tensor]:
    """The prediction (C, h, w) for each noisy latent, in float32 on the CPU."""
    predictions: list[Tensor] = []
    with autocast_to_model_dtype(model):
        for part in _iterate_parts(noisy, samples_at_once, get_model_device(model)):
            c = condition(part.batch.captions, part.batch.micro_conditioning)
            predictions += model.predict(part.z_t, part.t, c).float().cpu()
    return predictions
