"""Whether generated images are copies of single training images, whole or cropped, mirrored or recoloured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tetrad.judging.eyes.eye import Eye, measure_distances, resize_to_square
from tetrad.judging.image_scores import estimate_share
from tetrad.judging.scores import Score

_CROP = 0.9  # of the side
_PROBE_CROP = 0.93  # of the copies that the limit is set with; a size that no reference has
LOOKS = 15  # at each training image: its variants, and a copy that the limit is set with
_MIN_SEPARATION = 0.9  # AUROC below which copies can't be told from other images of the same thing


@dataclass(frozen=True)
class CopyReferences:
    """The training images in several crops, upright and mirrored, and in other colours, as an eye sees them.

    `limit` is the distance below which an image counts as a copy: half-way between that of known copies to their own
    image and that of the training images to each other. `separation` is how surely the two are told apart (AUROC, 0.5:
    not at all); it is low where all training images show the same thing in the same place.
    """

    features: Tensor  # (N · variants, …)
    owners: Tensor  # (N · variants,): the training image of each
    limit: float
    separation: float

    @classmethod
    def take(cls, eye: Eye, images: Sequence[Tensor], side: int) -> "CopyReferences | None":
        """Look at the training images (3, H, W); None for a single one, which says nothing about other images."""
        if len(images) < 2:
            return None
        squares = [resize_to_square(image, side) for image in images]
        variants = [variant for square in squares for variant in make_variants(square)]
        features = eye.look(variants)
        owners = torch.arange(len(squares)).repeat_interleave(len(variants) // len(squares))
        probes = eye.look([_make_probe(square, number) for number, square in enumerate(squares)])
        distances = measure_distances(probes, features)
        is_own = owners[None] == torch.arange(len(squares))[:, None]
        to_own = distances.masked_fill(~is_own, torch.inf).min(1).values
        to_others = distances.masked_fill(is_own, torch.inf).min(1).values
        limit = (to_own.median() + to_others.median()).item() / 2
        return cls(features, owners, limit, compute_auroc(-to_own, -to_others))

    def measure_nearness(self, features: Tensor) -> Tensor:
        """Distance (N,) of each image to the nearest reference, over the limit: below 1 it counts as a copy."""
        return measure_distances(features, self.features).min(1).values / max(self.limit, 1e-9)

    @property
    def can_tell(self) -> bool:
        """Whether copies can be told from new images of the same thing."""
        return self.separation >= _MIN_SEPARATION

    def score(self, features: Tensor) -> Score:
        """The share of images that count as copies."""
        return estimate_share(self.measure_nearness(features) < 1)


def make_variants(square: Tensor) -> Iterator[Tensor]:
    """An image (3, s, s) as it is, cropped at five places, each upright and mirrored, and with its colours turned."""
    side = square.shape[1]
    crop = round(side * _CROP)
    places = [(0, 0), (0, side - crop), (side - crop, 0), (side - crop, side - crop), ((side - crop) // 2,) * 2]
    whole = [square, *(resize_to_square(square[:, y : y + crop, x : x + crop], side) for y, x in places)]
    yield from whole
    yield from (each.flip(2) for each in whole)
    yield from (square.roll(1, 0), square.flip(2).roll(2, 0))


def _make_probe(square: Tensor, number: int) -> Tensor:
    """A copy as a person would make it: cropped off the centre, every second one mirrored, darker or lighter."""
    side = square.shape[1]
    crop = round(side * _PROBE_CROP)
    offset = (side - crop) // 3
    cropped = resize_to_square(square[:, offset : offset + crop, offset : offset + crop], side)
    return ((cropped.flip(2) if number % 2 else cropped) * (0.9 if number % 4 < 2 else 1.1)).clamp(0, 1)


def compute_auroc(positives: Tensor, negatives: Tensor) -> float:
    """The probability that a positive's score is above a negative's; ties count half."""
    difference = positives.flatten()[:, None] - negatives.flatten()[None]
    return ((difference > 0).float() + 0.5 * (difference == 0).float()).mean().item()
