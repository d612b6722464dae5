"""How many ranks each layer of a LoRA keeps: so many, as many as hold an energy, or as many as fit into a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods.lora.combine import CombinedLayer
from tetrad.methods.lora.settings import MAX_RANK
from tetrad.methods.lora.svd import RankLimit

_MAX_RANK_SHARE = 4  # where a file's size is given, no layer gets more than this many times the average rank


@dataclass(frozen=True)
class RankChoice:
    """The largest rank, that of 3×3 convolutions where it differs, the energy, and the largest size in bytes.

    E5322 for values that are out of range.
    """

    rank: int | None = None
    conv_rank: int | None = None
    energy: float | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, rank in (("rank", self.rank), ("conv_rank", self.conv_rank)):
            if rank is not None and not 1 <= rank <= MAX_RANK:
                template = _("{name} must be from 1 to {limit}, not {rank}")
                raise TetradError("E5322", template, name=name, limit=MAX_RANK, rank=rank)
        if self.energy is not None and not 0 < self.energy <= 1:
            template = _("the energy must be above 0 and at most 1, not {energy}; 0.9 keeps nine tenths of the change")
            raise TetradError("E5322", template, energy=self.energy)
        if self.max_bytes is not None and self.max_bytes <= 0:
            raise TetradError("E5322", _("the size must be above 0, not {size} bytes"), size=self.max_bytes)

    @property
    def is_exact(self) -> bool:
        """Whether every rank is kept."""
        return self == RankChoice()

    def as_record(self) -> dict[str, float]:
        """What was chosen, for the history."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def limit_for(self, shape: Sequence[int], average_rank: int = MAX_RANK) -> RankLimit:
        """The limit of a layer with this weight; `average_rank` is what a file of this size has room for."""
        rank = self.conv_rank if is_spatial(shape) and self.conv_rank else self.rank
        if rank is None and self.max_bytes is not None:
            rank = _MAX_RANK_SHARE * average_rank
        return RankLimit(rank, 1.0 if self.energy is None else self.energy)


def is_spatial(shape: Sequence[int]) -> bool:
    """Whether a weight of this shape is that of a convolution larger than 1×1."""
    return len(shape) == 4 and tuple(shape[2:]) != (1, 1)


def count_average_rank(shapes: Sequence[Sequence[int]], max_bytes: int, itemsize: int) -> int:
    """The rank that layers with weights of these shapes have in a file of this size, where all have the same."""
    return max(1, max_bytes // max(1, sum(bytes_per_rank(shape, itemsize) for shape in shapes)))


def bytes_per_rank(shape: Sequence[int], itemsize: int) -> int:
    """What one rank of a layer takes in a file: a column of `up` and a row of `down`."""
    return (shape[0] + torch.Size(shape[1:]).numel()) * itemsize


def fit_into(layers: Mapping[str, CombinedLayer], max_bytes: int, itemsize: int) -> dict[str, CombinedLayer]:
    """The layers with those of their ranks that hold most of the change for their bytes, as many as fit."""
    values, costs = [], []
    for layer in layers.values():
        if layer.factors:
            cost = bytes_per_rank(layer.shape, itemsize)
            values.append(layer.factors.squares / cost)
            costs.append(torch.full_like(layer.factors.squares, cost))
    if not values:
        return dict(layers)
    sorted_values, order = torch.cat(values).sort(descending=True, stable=True)
    count = int((torch.cat(costs)[order].cumsum(0) <= max_bytes).sum())
    if count == len(order):
        return dict(layers)
    least = sorted_values[count]  # the best that does not fit; equal ones are left out with it
    return {
        path: layer.truncate(int((layer.factors.squares / bytes_per_rank(layer.shape, itemsize) > least).sum()))
        if layer.factors
        else layer
        for path, layer in layers.items()
    }
