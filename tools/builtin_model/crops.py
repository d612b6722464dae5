"""Crops of drawings on plain backgrounds, composed on the device that trains: the VAE's training images."""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from artwork import Artwork
from PIL import Image
from torch import Generator, Tensor

from tetrad.builtin.drawings import BACKGROUNDS, IMAGE_SIDE
from tetrad.builtin.vocabulary import SubjectStylePair

SMALLEST, LARGEST = 0.55, 1.0  # sizes of a drawing, as shares of the image
PLAIN_SHARE, RANDOM_COLOUR_SHARE = 0.06, 1 / 3  # of the crops: without a drawing; on a colour without a name


@dataclass(frozen=True)
class Crops:
    """Images (B, 3, h, w) in -1…1, and 1 where there is nothing but background (B, 1, h, w)."""

    images: Tensor
    is_background: Tensor


def resize_to_layers(drawing: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """A drawing at several sizes, each at the top left of (128, 128, 4): colours multiplied by alpha, and alpha."""
    layers = np.zeros((len(sides), IMAGE_SIDE, IMAGE_SIDE, 4), np.uint8)
    premultiplied = Image.fromarray(drawing).convert("RGBa")
    for layer, side in zip(layers, sides, strict=True):
        layer[:side, :side] = np.asarray(premultiplied.resize((side, side), Image.Resampling.LANCZOS))
    return layers


class CropSource:
    """The drawings in a few sizes, on the device; 66 kB for each drawing and size."""

    def __init__(self, artwork: Artwork, pairs: Sequence[SubjectStylePair], sizes: int, device: torch.device) -> None:
        self.sides = [round(IMAGE_SIDE * share) for share in np.linspace(SMALLEST, LARGEST, sizes)]
        drawings = (artwork[pair] for pair in pairs)
        layers = torch.empty((len(pairs), sizes, IMAGE_SIDE, IMAGE_SIDE, 4), dtype=torch.uint8)
        with ProcessPoolExecutor(os.cpu_count() if device.type != "cpu" else 1) as processes:
            for number, resized in enumerate(
                processes.map(resize_to_layers, drawings, repeat(self.sides), chunksize=32)
            ):
                layers[number] = torch.from_numpy(resized)
        self.layers = layers.to(device)
        self.colours = torch.tensor(list(BACKGROUNDS.values()), dtype=torch.float32, device=device)

    def sample(self, count: int, crop: int, rng: Generator) -> Crops:
        """Random drawings at random places and sizes, mirrored or not, and of each image a random square."""
        device = self.layers.device

        def draw(*limits: Tensor | int) -> list[Tensor]:
            """Random integers from 0 up to below each limit, (count,)."""
            return [(torch.rand(count, generator=rng).to(device) * limit).long() for limit in limits]

        size, drawing = draw(len(self.sides), len(self.layers))
        side = torch.tensor(self.sides, device=device)[size]
        room = IMAGE_SIDE - side + 1
        top, left, crop_top, crop_left = draw(room, room, IMAGE_SIDE - crop + 1, IMAGE_SIDE - crop + 1)
        steps = torch.arange(crop, device=device)
        rows = (crop_top - top)[:, None] + steps
        columns = (crop_left - left)[:, None] + steps
        is_mirrored = torch.rand(count, generator=rng).to(device)[:, None] < 0.5
        columns = torch.where(is_mirrored, side[:, None] - 1 - columns, columns)
        # Outside its layer a drawing is as transparent as in the layer's last row, unless it fills the image.
        rows, columns = (torch.where((at < 0) | (at >= IMAGE_SIDE), IMAGE_SIDE - 1, at) for at in (rows, columns))
        pixels = self.layers[drawing[:, None, None], size[:, None, None], rows[:, :, None], columns[:, None, :]]
        is_plain = torch.rand(count, generator=rng).to(device) < PLAIN_SHARE
        layer = pixels.float().masked_fill(is_plain[:, None, None, None], 0).permute(0, 3, 1, 2)
        named = self.colours[draw(len(self.colours))[0]]
        other = (torch.rand(count, 3, generator=rng) * 256).floor().to(device)
        is_other = torch.rand(count, generator=rng).to(device)[:, None] < RANDOM_COLOUR_SHARE
        colour = torch.where(is_other, other, named)[:, :, None, None]
        images = colour * (1 - layer[:, 3:] / 255) + layer[:, :3]
        return Crops((images + 0.5).floor().clamp(0, 255) / 127.5 - 1, (layer[:, 3:] == 0).float())
