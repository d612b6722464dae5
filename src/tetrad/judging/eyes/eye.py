"""The protocol of an eye, and the distances between what it sees."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

Distances = Callable[[Tensor, Tensor], Tensor]  # of features (N, …) and (M, …): (N, M)
_PATCH_GRID = 8  # patches along each side of a map


class Eye(Protocol):
    """Turns images into features whose distance says how different the images are."""

    name: str  # "maps", "clip", "dinov2", "ccip"

    def look(self, images: Sequence[Tensor]) -> Tensor:
        """Features (N, …) of images (3, H, W) in [0, 1] of any sizes, in float32 on the CPU."""
        ...

    def measure(self, features: Tensor, others: Tensor) -> Tensor:
        """Distances (N, M) between features (N, …) and others (M, …)."""
        ...


@runtime_checkable
class TextEye(Eye, Protocol):
    """An eye that also says how well images fit texts."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Features (N, F) of texts, in the space of the images' features."""
        ...


def measure_distances(features: Tensor, others: Tensor) -> Tensor:
    """Root mean squared differences (N, M) between features (N, …) and others (M, …)."""
    rows, columns = features.flatten(1), others.flatten(1)
    distances: Tensor = torch.cdist(rows, columns) / rows.shape[1] ** 0.5
    return distances


def measure_patch_distances(features: Tensor, others: Tensor) -> Tensor:
    """Distances (N, M) between maps (N, C, h, w) and (M, C, h, w), wherever in the image things are.

    Each place of a map is compared with the most similar place of the other one, in both directions (Chamfer distance),
    so that moving or mirroring what is shown costs little. Root mean squares, as `measure_distances`.
    """
    patches, other_patches = (
        F.adaptive_avg_pool2d(each, min(_PATCH_GRID, each.shape[2])).flatten(2).transpose(1, 2)
        for each in (features, others)
    )
    rows = []
    for each in patches:
        distances = torch.cdist(each.expand(len(other_patches), -1, -1), other_patches)  # (M, h·w, h·w)
        rows.append((distances.min(2).values.mean(1) + distances.min(1).values.mean(1)) / 2)
    result: Tensor = torch.stack(rows) / features.shape[1] ** 0.5
    return result


def resize_to_square(image: Tensor, side: int) -> Tensor:
    """The centre of an image (3, H, W) as a square (3, side, side) in [0, 1]."""
    height, width = image.shape[1:]
    crop = min(height, width)
    top, left = (height - crop) // 2, (width - crop) // 2
    square = image[None, :, top : top + crop, left : left + crop]
    if crop == side:
        return square[0]
    resized: Tensor = F.interpolate(square, size=(side, side), mode="bicubic", antialias=True)
    return resized[0].clamp(0, 1)
