"""The eyes that every model brings: latents of its VAE and maps of its U-Net.

They need no download, and they do not know what is shown: they compare colours, edges and small parts, place by place
or wherever they are. docs/judging.md has how far that holds.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tetrad.diffusion.noise import corrupt
from tetrad.diffusion.randomness import generator
from tetrad.judging.eyes.eye import measure_distances, measure_patch_distances, resize_to_square
from tetrad.models.base import Model, autocast_to_model_dtype, denoiser_of, get_model_device

_BATCH_SIZE = 8
_MAX_GRID = 16  # places of a map along each side; larger maps are averaged, to save memory


class LatentMapEye:
    """The VAE's latents, each channel centred in each image, so that a change of the whole image's colour counts less.

    Without `is_centred` they are compared as they are.
    """

    name = "latents"

    def __init__(self, model: Model, is_centred: bool = False) -> None:
        self.model, self.is_centred = model, is_centred

    def look(self, images: Sequence[Tensor]) -> Tensor:
        """(N, C, h, w) with h = w = resolution / 8."""
        latents = torch.cat(list(_encode(self.model, images)))
        return latents - latents.mean((2, 3), keepdim=True) if self.is_centred else latents

    def measure(self, features: Tensor, others: Tensor) -> Tensor:
        return measure_distances(features, others)


class UnetMapEye:
    """The output of one of the U-Net's upward blocks for noised latents and the empty prompt, with fixed noise.

    `block` counts from the end: -1 is up3 of Stable Diffusion 1, -2 is up2. `time` is one of 1000. With `by_patch` the
    place of things in the image does not count. The model must have no adapter attached, since the eye would change
    with it.
    """

    def __init__(self, model: Model, block: int, time: int, is_centred: bool = False, by_patch: bool = False) -> None:
        self.model, self.block, self.time, self.is_centred = model, block, time, is_centred
        self.by_patch = by_patch
        self.name = f"unet{block}@{time}"

    @torch.no_grad()
    def look(self, images: Sequence[Tensor]) -> Tensor:
        """(N, C, h, w), h and w at most 16."""
        model, device = self.model, get_model_device(self.model)
        empty = model.condition([""])
        maps = []
        for z in _encode(model, images):
            z = z.to(device)
            eps = torch.randn(z.shape[1:], generator=generator(0, 0, "eye")).to(device)
            t = model.noise.times(torch.full((len(z),), self.time / 1000)).to(device)
            z_t = corrupt(model.noise, z, eps.expand_as(z), t)
            conditioning = type(empty).stack([empty] * len(z))
            with _record(_find_block(model, self.block)) as outputs, autocast_to_model_dtype(model):
                model.predict(z_t, t, conditioning)
            maps.append(_shrink(outputs[0].float()).cpu())
        seen = torch.cat(maps)
        return seen - seen.mean((2, 3), keepdim=True) if self.is_centred else seen

    def measure(self, features: Tensor, others: Tensor) -> Tensor:
        return (measure_patch_distances if self.by_patch else measure_distances)(features, others)


def _encode(model: Model, images: Sequence[Tensor]) -> Iterator[Tensor]:
    """Mean latents (B, C, h, w) of the images, a batch at a time."""
    for first in range(0, len(images), _BATCH_SIZE):
        squares = [resize_to_square(image, model.resolution) for image in images[first : first + _BATCH_SIZE]]
        yield model.vae.encode(torch.stack(squares))[0].float().cpu()


def _find_block(model: Model, block: int) -> nn.Module:
    blocks: nn.ModuleList = denoiser_of(model).get_submodule("up_blocks")  # type: ignore[assignment]
    return blocks[block]


@contextmanager
def _record(module: nn.Module) -> Iterator[list[Tensor]]:
    """A list to which every output of the module is appended."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def _shrink(maps: Tensor) -> Tensor:
    """Maps (B, C, h, w) averaged to at most _MAX_GRID places along each side."""
    height, width = (min(side, _MAX_GRID) for side in maps.shape[2:])
    return F.adaptive_avg_pool2d(maps, (height, width))
