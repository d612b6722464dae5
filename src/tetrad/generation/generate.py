"""Generate images from requests: seeded noise, guidance, sampler, VAE."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from tetrad.diffusion.guidance import apply_guidance, rescale_guidance
from tetrad.diffusion.samplers import InitLatents, create_scheduler, sample
from tetrad.errors import TetradError
from tetrad.generation import prompt_networks, prompt_parser
from tetrad.generation.edit_steps import count_steps, make_edit_counter
from tetrad.generation.request import InitImage, Request
from tetrad.locales import _
from tetrad.models.base import Conditioning, Model, autocast_to_model_dtype, get_model_device
from tetrad.models.clip import Text

StepCallback = Callable[[int, int], None]  # the step that starts, the number of steps
_LatentDecoder = Callable[[Tensor], Tensor]  # latents (B, C, h, w) → images (B, 3, 8h, 8w) in [0, 1]


def ignore_step(step: int, steps: int) -> None:
    pass


def generate_images(
    model: Model,
    requests: Sequence[Request],
    batch_size: int = 8,
    decode: _LatentDecoder | None = None,
    on_step: StepCallback = ignore_step,
) -> Iterator[Tensor]:
    """An image (3, H, W) in [0, 1] for each request, in order.

    Consecutive requests that differ only in prompts and seed share a batch. An image depends only on its own request,
    not on the rest of its batch (except for rounding). `decode` replaces the model's VAE.
    """
    if batch_size < 1:
        raise TetradError("E3203", _("the batch size must be at least 1, not {value}"), value=batch_size)
    sized_requests = [with_size(request, model) for request in requests]
    for _key, same_settings in groupby(
        sized_requests, key=lambda request: replace(request, prompt="", negative_prompt="", seed=0)
    ):
        group = list(same_settings)
        for first in range(0, len(group), batch_size):
            *_earlier, latents = denoise(model, group[first : first + batch_size], on_step)
            for image in (decode or model.vae.decode)(latents).cpu():
                yield _paste_masked(image, group[0].init_image)


def with_size(request: Request, model: Model) -> Request:
    if request.init_image:
        height, width = request.init_image.image.shape[1:]
        return replace(request, width=width, height=height)
    return replace(request, width=request.width or model.resolution, height=request.height or model.resolution)


def _paste_masked(image: Tensor, init_image: InitImage | None) -> Tensor:
    """The generated image inside the mask, the init image outside it."""
    if init_image is None or init_image.mask is None:
        return image
    return init_image.image + init_image.mask * (image - init_image.image)


@torch.no_grad()
def denoise(model: Model, requests: Sequence[Request], on_step: StepCallback = ignore_step) -> Iterator[Tensor]:
    """Latents (B, C, h, w) after each call of the network, for requests that differ only in prompts and seed.

    Each image has its own CPU generator, seeded as in diffusers and A1111 (RNG: CPU), so that a seed gives the same
    image in every batch and on every device.
    """
    first, device = requests[0], get_model_device(model)
    shape = (
        model.latent_channels,
        first.height // model.vae.downsampling_factor,
        first.width // model.vae.downsampling_factor,
    )
    rng = [Generator().manual_seed(request.seed) for request in requests]
    eps = torch.stack([torch.randn(shape, generator=each) for each in rng]).to(device)
    step_count = count_steps(first)
    init_latents = _encode_init_image(model, first, step_count, len(requests))
    edit_steps, count_edit_step = make_edit_counter(first)
    with _use_clip_skip(model, first.clip_skip):
        denoiser = GuidedDenoiser(model, requests, edit_steps)

        def predict(z_t: Tensor, t: Tensor, step: int) -> Tensor:
            on_step(step, step_count)
            return denoiser(z_t, t, count_edit_step(step))

        solver = create_scheduler(first.sampler, model.noise, first.steps, device, model.steps_table)
        yield from sample(solver, predict, eps, first.steps, rng, init_latents)


def _encode_init_image(model: Model, request: Request, step_count: int, count: int) -> InitLatents | None:
    if request.init_image is None:
        return None
    latents = model.vae.encode(request.init_image.image[None])[0].to(get_model_device(model))
    mask = request.init_image.mask
    if mask is not None:  # a latent is generated where any of its pixels is
        mask = F.max_pool2d((mask[None] >= 0.5).float(), model.vae.downsampling_factor).to(latents.device)
    return InitLatents(latents.repeat(count, 1, 1, 1), step_count, mask)


@contextmanager
def _use_clip_skip(model: Model, clip_skip: int) -> Iterator[None]:
    """Encode prompts of any length, from this layer; restores the model's settings afterwards."""
    previous = model.text_encoding
    model.text_encoding = replace(previous, clip_skip=clip_skip or previous.clip_skip, chunk_count=None)
    try:
        yield
    finally:
        model.text_encoding = previous


class GuidedDenoiser:
    """Classifier-free guidance over a batch of requests: the guided network output at each step."""

    def __init__(self, model: Model, requests: Sequence[Request], steps: int) -> None:
        self.model = model
        self.cfg_scale, self.cfg_rescale = requests[0].cfg_scale, requests[0].cfg_rescale
        self.subprompts = [
            prompt_parser.parse_prompt(prompt_networks.extract_networks(request.prompt).text, steps)
            for request in requests
        ]
        self.negative_texts = [
            prompt_parser.parse_negative_prompt(request.negative_prompt, steps) for request in requests
        ]
        self.conditionings: dict[Text, Conditioning] = {}
        # At CFG scale 1 the negative prompt has no effect on a single prompt of weight 1.
        self.skips_negative = self.cfg_scale == 1 and all(
            [part.weight for part in each] == [1] for each in self.subprompts
        )

    def __call__(self, z_t: Tensor, t: Tensor, step: int) -> Tensor:
        """The guided output, with the shape of z_t (B, C, h, w)."""
        negatives: list[tuple[int, Text]] = [
            (index, texts[step - 1]) for index, texts in enumerate(self.negative_texts)
        ]
        positives = [(index, part.texts[step - 1]) for index, parts in enumerate(self.subprompts) for part in parts]
        pairs = positives if self.skips_negative else negatives + positives
        outputs = self.predict_outputs(z_t, t, pairs)
        if self.skips_negative:
            return torch.stack(outputs)
        rest = iter(outputs[len(negatives) :])
        guided_outputs = []
        for negative, parts in zip(outputs, self.subprompts, strict=False):
            positive = [(next(rest), part.weight) for part in parts]
            out = apply_guidance(negative, positive, self.cfg_scale)
            if self.cfg_rescale:
                out = rescale_guidance(out, apply_guidance(negative, positive, 1.0), self.cfg_rescale)
            guided_outputs.append(out)
        return torch.stack(guided_outputs)

    def predict_outputs(self, z_t: Tensor, t: Tensor, pairs: Sequence[tuple[int, Text]]) -> list[Tensor]:
        """The network's output (C, h, w) for each pair of a row of z_t and a text.

        Texts of different length go in separate batches: padding them would change the result.
        """
        token_counts = [self.condition(text).hidden_states.shape[1] for _index, text in pairs]
        output_by_row: dict[int, Tensor] = {}
        for token_count in dict.fromkeys(token_counts):
            rows = [row for row in range(len(pairs)) if token_counts[row] == token_count]
            latent_rows = torch.tensor([pairs[row][0] for row in rows], device=z_t.device)
            c = Conditioning.stack([self.condition(pairs[row][1]) for row in rows])
            with autocast_to_model_dtype(self.model):
                output = self.model.predict(z_t[latent_rows], t[latent_rows], c).float()
            output_by_row |= dict(zip(rows, output, strict=True))
        return [output_by_row[row] for row in range(len(pairs))]

    def condition(self, text: Text) -> Conditioning:
        if text not in self.conditionings:
            self.conditionings[text] = self.model.condition([text])
        return self.conditionings[text]
