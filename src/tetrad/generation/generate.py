"""From requests to pictures: seeded noise, guidance, a sampler, the VAE."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import torch
from torch import Generator, Tensor

from tetrad.diffusion.guidance import guided
from tetrad.diffusion.randomness import generator
from tetrad.diffusion.samplers import sample
from tetrad.generation.request import Request
from tetrad.models.base import Model, device_of, precision


def pictures(model: Model, requests: Sequence[Request], batch_size: int = 8) -> Iterator[Tensor]:
    """A picture (3, H, W) in 0…1 for each request, in order; like requests that follow each other are drawn together.

    A picture depends on its request alone, not on what is drawn beside it (up to the rounding of a larger batch).
    """
    whole = [with_size(request, model) for request in requests]
    for _, alike in groupby(whole, key=lambda request: replace(request, prompt="", negative="", seed=0)):
        group = list(alike)
        for start in range(0, len(group), batch_size):
            *_, latents = denoised(model, group[start : start + batch_size])
            yield from model.vae.decode(latents).cpu()


def with_size(request: Request, model: Model) -> Request:
    return replace(request, width=request.width or model.resolution, height=request.height or model.resolution)


@torch.no_grad()
def denoised(model: Model, requests: Sequence[Request]) -> Iterator[Tensor]:
    """Latents (B, 4, h, w) after each sampler step, for requests that differ in words and seed only."""
    first = requests[0]
    shape = (4, first.height // model.vae.factor, first.width // model.vae.factor)
    starts = [torch.randn(shape, generator=generator(request.seed, 0, "picture")) for request in requests]
    c = model.condition([request.negative for request in requests] + [request.prompt for request in requests])

    def predict(z_t: Tensor, t: Tensor) -> Tensor:
        with precision(model):
            return model.predict(z_t, t, c).float()

    def steps_noise() -> list[Generator]:
        return [generator(request.seed, 1, "picture") for request in requests]

    z = torch.stack(starts).to(device_of(model))
    yield from sample(first.sampler, model.noise, guided(predict, first.cfg_scale), z, first.steps, steps_noise)
