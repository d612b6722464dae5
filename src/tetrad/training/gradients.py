"""The gradients of an update: its batches with everything random drawn, and the loss of each part added up."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import derive_seed, generator, stratified_quantiles
from tetrad.models.base import Model, autocast_to_model_dtype, get_model_device
from tetrad.training.fused_backward import FusedBackwardUpdate
from tetrad.training.step import Condition, NoisyBatch, add_noise, denoising_loss

Extend = Callable[[Model, Objective, NoisyBatch, torch.Generator], NoisyBatch]


def add_nothing(model: Model, objective: Objective, noisy: NoisyBatch, rng: torch.Generator) -> NoisyBatch:
    """The batch as it is."""
    return noisy


class Backward(Protocol):
    """What adds the gradient of a loss to those of the parameters."""

    def backward(self, loss: Tensor) -> None: ...


@dataclass(frozen=True)
class PlainBackward:
    """Gradients of the loss times a factor, such as float16's loss scale."""

    factor: float = 1.0

    def backward(self, loss: Tensor) -> None:
        (loss * self.factor).backward()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Portion:
    """Samples of one batch of an update, whose loss is Σ weight · loss / `subjects`."""

    noisy: NoisyBatch
    subjects: int  # of the whole update, without class images
    dropout_seed: int

    def __len__(self) -> int:
        return len(self.noisy.t)

    def take(self, begin: int, end: int) -> "Portion":
        """Some of the samples; dropout differs from that of the samples before them."""
        seed = derive_seed(self.dropout_seed, begin, "rows") if begin else self.dropout_seed
        return replace(self, noisy=self.noisy.take(slice(begin, end)), dropout_seed=seed)

    def join(self, other: "Portion") -> "Portion":
        """Both as one, with the dropout of the first."""
        return replace(self, noisy=self.noisy.join(other.noisy))


# (model, condition, objective, portions, updater, samples_at_once) -> the loss of all portions
ComputeGradients = Callable[[Model, Condition, Objective, Iterable[Portion], Backward, int], Tensor]


@dataclass(frozen=True)
class StepRandomness:
    """What the random numbers of a step are derived from."""

    seed: int
    step: int
    first_sample: int  # samples used before this step


def draw_portions(
    model: Model, objective: Objective, batches: Sequence[Batch], randomness: StepRandomness, extend: Extend
) -> Iterator[Portion]:
    """Each batch of an update with its times and noise, and with the samples that `extend` adds."""
    subjects = max(1, sum(batch.subject_count for batch in batches))
    first_sample = randomness.first_sample
    for micro, batch in enumerate(batches):
        u = stratified_quantiles(randomness.seed, first_sample, len(batch.weight))
        first_sample += len(batch.weight)
        noise = generator(randomness.seed, randomness.step, f"noise {micro}")
        with autocast_to_model_dtype(model):
            noisy = add_noise(model, objective, batch, u, noise)
            noisy = extend(model, objective, noisy, generator(randomness.seed, randomness.step, f"extend {micro}"))
        yield Portion(noisy, subjects, derive_seed(randomness.seed, randomness.step, f"dropout {micro}"))


def join_portions(portions: Iterable[Portion], samples_at_once: int) -> Iterator[Portion]:
    """The portions, joined with others of their shape as long as they have at most `samples_at_once` samples."""
    waiting: dict[tuple[torch.Size, bool], Portion] = {}
    for portion in portions:
        shape = portion.noisy.batch.latents.shape[1:], portion.noisy.batch.mask is None
        before = waiting.pop(shape, None)
        if before and len(before) + len(portion) <= samples_at_once:
            portion = before.join(portion)
        elif before:
            yield before
        waiting[shape] = portion
    yield from waiting.values()


def compute_gradients(
    model: Model,
    condition: Condition,
    objective: Objective,
    portions: Iterable[Portion],
    updater: Backward,
    samples_at_once: int,
) -> Tensor:
    """Add up the gradients of all portions, about `samples_at_once` of their samples at once; returns their loss.

    Larger portions are divided, smaller ones are joined; 0 computes each portion as it is.
    A fused backward updates the weights, so it must run once for all batches, whose activations are kept until then.
    """
    losses = _iterate_losses(model, condition, objective, portions, samples_at_once)
    total = torch.zeros((), device=get_model_device(model))
    if isinstance(updater, FusedBackwardUpdate):
        total = sum(losses, total)
        updater.backward(total)
        return total.detach()
    for loss in losses:
        updater.backward(loss)
        total += loss.detach()
    return total


def _iterate_losses(
    model: Model, condition: Condition, objective: Objective, portions: Iterable[Portion], samples_at_once: int
) -> Iterator[Tensor]:
    """The share of each part in an update's loss."""
    for portion in join_portions(portions, samples_at_once):
        torch.manual_seed(portion.dropout_seed)
        for part in portion.noisy.split(samples_at_once):
            with autocast_to_model_dtype(model):
                losses = denoising_loss(model, condition, objective, part)
                loss = (part.batch.weight * losses).sum() / portion.subjects
            yield loss
