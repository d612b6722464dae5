"""One page of the paper."""

from collections.abc import Callable, Sequence

from torch import Generator, Tensor

from tetrad.data.batches import Batch
from tetrad.diffusion.noise import corrupt
from tetrad.diffusion.objective import Objective
from tetrad.models.base import Conditioning, Model

Condition = Callable[[Sequence[str], Tensor | None], Conditioning]


def denoising_loss(
    model: Model, condition: Condition, objective: Objective, batch: Batch, u: Tensor, rng: Generator
) -> Tensor:
    """w(t) · ‖ f(z_t, t, c) - target ‖² of each sample, shape (B,).  [Ho et al. 2020, Algorithm 1]

    z are the clean latents, t the times at quantiles u (B,), ε the noise, z_t the noisy latents, c what captions say.
    """
    z = batch.latents
    t = model.noise.times(u).to(z.device, non_blocking=True)
    eps = objective.noise(z, rng)
    z_t = corrupt(model.noise, z, objective.seen(eps, rng), t)
    c = condition(batch.captions, batch.framing)

    error = objective.error(model.predict(z_t, t, c), model.noise.target(z, eps, t))
    return objective.weight(model.noise, t) * masked_mean(error, batch.mask)


def masked_mean(error: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over everything but the batch, of the masked-in places only: (B, C, h, w) → (B,)."""
    if mask is None:
        return error.flatten(1).mean(1)
    return (error * mask).flatten(1).sum(1) / mask.expand_as(error).flatten(1).sum(1)
