"""The denoising loss of a training step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from tetrad.data.batches import Batch
from tetrad.diffusion.noise import corrupt
from tetrad.diffusion.objective import Objective
from tetrad.models.base import Conditioning, Model

Condition = Callable[[Sequence[str], Tensor | None], Conditioning]


@dataclass(frozen=True)
class NoisyBatch:
    """A batch with everything that is random in its loss, so that it can be computed in parts with the same result."""

    batch: Batch
    t: Tensor  # times (B,)
    target: Tensor  # what the network should predict: ε or v, shaped as the latents
    z_t: Tensor  # noisy latents

    def split(self, samples_at_once: int) -> Iterator["NoisyBatch"]:
        """Parts of at most so many samples, in order; 0 is the whole batch."""
        count = len(self.t)
        for begin in range(0, count, samples_at_once or count):
            yield self.take(slice(begin, begin + (samples_at_once or count)))

    def take(self, part: slice) -> "NoisyBatch":
        """Some of the samples."""
        return NoisyBatch(self.batch.take(part), self.t[part], self.target[part], self.z_t[part])

    def join(self, other: "NoisyBatch") -> "NoisyBatch":
        """Both in one batch; the samples of `other` count as class images."""
        return NoisyBatch(
            self.batch.join(other.batch),
            torch.cat([self.t, other.t]),
            torch.cat([self.target, other.target]),
            torch.cat([self.z_t, other.z_t]),
        )


def add_noise(model: Model, objective: Objective, batch: Batch, u: Tensor, rng: Generator) -> NoisyBatch:
    """z: clean latents, t: times at the quantiles u (B,), ε: noise, z_t: noisy latents."""
    z = batch.latents
    t = objective.times(model.noise, u).to(z.device, non_blocking=True)
    eps = objective.noise(z, rng)
    target = model.noise.target(z, eps, t)
    return NoisyBatch(batch, t, target, corrupt(model.noise, z, objective.input_noise(eps, rng), t))


def denoising_loss(model: Model, condition: Condition, objective: Objective, noisy: NoisyBatch) -> Tensor:
    """w(t) · ‖ f(z_t, t, c) - target ‖² of each sample, shape (B,).  [Ho et al. 2020, Algorithm 1]

    c: conditioning by the captions.
    """
    batch, t = noisy.batch, noisy.t
    c = condition(batch.captions, batch.micro_conditioning)

    error = objective.error(model.predict(noisy.z_t, t, c), noisy.target, model.noise, t)
    return objective.weight(model.noise, t) * objective.reduce(error, batch.mask)
