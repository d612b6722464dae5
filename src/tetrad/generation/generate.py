"""From requests to pictures: seeded noise, guidance, a sampler, the VAE."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from tetrad.diffusion.guidance import guided, rescaled
from tetrad.diffusion.samplers import Canvas, sample, scheduler, steps_drawn
from tetrad.errors import TetradError
from tetrad.generation import grammar, prompts
from tetrad.generation.request import Request, Start
from tetrad.models.base import Conditioning, Model, device_of, precision
from tetrad.models.text import Text

Watch = Callable[[int, int], None]  # the step that begins, of how many
Decode = Callable[[Tensor], Tensor]  # latents (B, 4, h, w) → pictures (B, 3, 8h, 8w) in 0…1


def unwatched(step: int, steps: int) -> None:
    pass


def pictures(
    model: Model,
    requests: Sequence[Request],
    batch_size: int = 8,
    decode: Decode | None = None,
    watch: Watch = unwatched,
) -> Iterator[Tensor]:
    """A picture (3, H, W) in 0…1 for each request, in order; like requests that follow each other are drawn together.

    A picture depends on its request alone, not on what is drawn beside it (up to the rounding of a larger batch).
    `decode` stands in for the model's VAE. E3203 for a batch of none.
    """
    if batch_size < 1:
        raise TetradError("E3203", f"at least one picture is drawn at once, not {batch_size}")
    whole = [with_size(request, model) for request in requests]
    for _, alike in groupby(whole, key=lambda request: replace(request, prompt="", negative="", seed=0)):
        group = list(alike)
        for first in range(0, len(group), batch_size):
            *_, latents = denoised(model, group[first : first + batch_size], watch)
            for picture in (decode or model.vae.decode)(latents).cpu():
                yield pasted(picture, group[0].start)


def with_size(request: Request, model: Model) -> Request:
    if request.start:
        height, width = request.start.picture.shape[1:]
        return replace(request, width=width, height=height)
    return replace(request, width=request.width or model.resolution, height=request.height or model.resolution)


def pasted(picture: Tensor, start: Start | None) -> Tensor:
    """The picture where the mask is, the one it began from elsewhere."""
    if start is None or start.mask is None:
        return picture
    return start.picture + start.mask * (picture - start.picture)


@torch.no_grad()
def denoised(model: Model, requests: Sequence[Request], watch: Watch = unwatched) -> Iterator[Tensor]:
    """Latents (B, 4, h, w) after each call of the network, for requests that differ in words and seed only.

    Noise comes from a CPU generator a picture, seeded as diffusers and A1111 (RNG: CPU) do, so that a seed is the same
    picture whatever the batch and the device.
    """
    first, device = requests[0], device_of(model)
    shape = (4, first.height // model.vae.factor, first.width // model.vae.factor)
    rng = [Generator().manual_seed(request.seed) for request in requests]
    eps = torch.stack([torch.randn(shape, generator=each) for each in rng]).to(device)
    over = canvas(model, first, len(requests))
    drawn = steps_drawn(first.steps, first.strength) if over else first.steps
    with reading(model, first.clip_skip):
        guided_by = Guided(model, requests, drawn)

        def predict(z_t: Tensor, t: Tensor, step: int) -> Tensor:
            watch(step, drawn)
            return guided_by(z_t, t, step)

        solver = scheduler(first.sampler, model.noise, first.steps, device, model.family)
        yield from sample(solver, predict, eps, first.steps, rng, over)


def canvas(model: Model, request: Request, pictures: int) -> Canvas | None:
    if request.start is None:
        return None
    latents = model.vae.encode(request.start.picture[None])[0].to(device_of(model))
    mask = request.start.mask
    if mask is not None:  # a latent is drawn anew where any pixel of it is
        mask = F.max_pool2d((mask[None] >= 0.5).float(), model.vae.factor).to(latents.device)
    return Canvas(latents.repeat(pictures, 1, 1, 1), request.strength, mask)


@contextmanager
def reading(model: Model, clip_skip: int) -> Iterator[None]:
    """Texts of any length, read at this layer; as before afterwards."""
    before = model.reading
    model.reading = replace(before, clip_skip=clip_skip or before.clip_skip, chunks=None)
    try:
        yield
    finally:
        model.reading = before


class Guided:
    """What a model, told by several requests, says of their noisy latents at each step."""

    def __init__(self, model: Model, requests: Sequence[Request], steps: int) -> None:
        self.model = model
        self.scale, self.rescale = requests[0].cfg_scale, requests[0].cfg_rescale
        self.parts = [grammar.read(prompts.parsed(request.prompt).text, steps) for request in requests]
        self.negatives = [grammar.read_negative(request.negative, steps) for request in requests]
        self.read: dict[Text, Conditioning] = {}
        # At scale 1 a single prompt is all that counts.
        self.alone = self.scale == 1 and all([part.weight for part in each] == [1] for each in self.parts)

    def __call__(self, z_t: Tensor, t: Tensor, step: int) -> Tensor:
        """The guided output, shaped as z_t (B, C, h, w)."""
        without: list[tuple[int, Text]] = [(place, texts[step - 1]) for place, texts in enumerate(self.negatives)]
        given = [(place, part.texts[step - 1]) for place, parts in enumerate(self.parts) for part in parts]
        asked = given if self.alone else without + given
        outputs = self.outputs(z_t, t, asked)
        if self.alone:
            return torch.stack(outputs)
        rest = iter(outputs[len(without) :])
        together = []
        for negative, parts in zip(outputs, self.parts, strict=False):
            positive = [(next(rest), part.weight) for part in parts]
            out = guided(negative, positive, self.scale)
            if self.rescale:
                out = rescaled(out, guided(negative, positive, 1.0), self.rescale)
            together.append(out)
        return torch.stack(together)

    def outputs(self, z_t: Tensor, t: Tensor, asked: Sequence[tuple[int, Text]]) -> list[Tensor]:
        """The network's output (C, h, w) for each picture's latent under a text.

        Texts of different length go apart: filled up they would say something else.
        """
        length = [self.condition(text).tokens.shape[1] for _, text in asked]
        found: dict[int, Tensor] = {}
        for alike in dict.fromkeys(length):
            rows = [row for row in range(len(asked)) if length[row] == alike]
            places = torch.tensor([asked[row][0] for row in rows], device=z_t.device)
            c = Conditioning.stacked([self.condition(asked[row][1]) for row in rows])
            with precision(self.model):
                output = self.model.predict(z_t[places], t[places], c).float()
            found |= dict(zip(rows, output, strict=True))
        return [found[row] for row in range(len(asked))]

    def condition(self, text: Text) -> Conditioning:
        if text not in self.read:
            self.read[text] = self.model.condition([text])
        return self.read[text]
