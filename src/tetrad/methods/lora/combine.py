"""Several LoRAs on one layer as one: exactly, with all their ranks side by side, or approximated by a lower rank."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods.lora import lycoris, oft
from tetrad.methods.lora.svd import Factors, RankLimit, factorize, factorize_product

Tensors = Mapping[str, Tensor]  # of one layer: "down", "up", "alpha" …
Weighted = Sequence[tuple[float, Tensors]]  # what several LoRAs have for one layer, with their strengths
SUMMED_TENSORS = ("diff_b", "w_norm", "b_norm")  # changes of biases and norms, which no factors hold


@dataclass(frozen=True)
class CombinedLayer:
    """One layer of the result: up · down is the change of its weight, where that is not None."""

    shape: Sequence[int]  # of the weight
    factors: Factors | None = None
    others: Tensors = field(default_factory=dict)  # of `SUMMED_TENSORS`
    kept: Tensors | None = None  # the tensors of a file, where they are to stay as they are

    @property
    def rank(self) -> int:
        return len(self.factors.down) if self.factors else 0

    def truncate(self, rank: int) -> Self:
        if self.factors is None or rank >= self.rank:
            return self
        return replace(self, factors=self.factors.truncate(rank), kept=None)

    def tensors(self, alpha: float) -> dict[str, Tensor]:
        """The tensors of a LoRA file with this alpha: the scale α / r, which readers apply, is taken out of `up`."""
        if self.kept is not None or not self.factors or not self.rank:
            return dict(self.others if self.kept is None else self.kept)
        up = self.factors.up * (self.rank / alpha)
        return {
            "down": self.factors.down.reshape(self.rank, *self.shape[1:]),
            "up": up.reshape(*up.shape, *[1] * (len(self.shape) - 2)),
            "alpha": torch.tensor(alpha),
            **self.others,
        }


def is_low_rank(tensors: Tensors) -> bool:
    """Whether the change of the layer's weight is a product of two small matrices, whatever the base model is."""
    return {"down", "up"} <= tensors.keys() <= {"down", "up", "mid", "alpha", *SUMMED_TENSORS}


def depends_on_base(tensors: Tensors) -> bool:
    """Whether the change can only be computed from the layer's own weight: that of a DoRA or an OFT."""
    return "magnitude" in tensors or oft.is_oft(tensors)


def changes_weight(tensors: Tensors) -> bool:
    """Whether more than biases and norms change."""
    return bool(tensors.keys() - {"alpha", *SUMMED_TENSORS})


def sum_weight_changes(weighted: Weighted, weight: Tensor) -> Tensor:
    """Σ s ΔW of one layer in float32, in the shape of its weight; only a DoRA or an OFT needs the weight's values."""
    total = torch.zeros(weight.shape)
    for strength, tensors in weighted:
        if changes_weight(tensors):
            floats = {name: tensor.float() for name, tensor in tensors.items()}
            total += strength * lycoris.weight_change(floats, weight.float())
    return total


def sum_tensors(weighted: Weighted, name: str) -> Tensor | None:
    """Σ s Δ of one of `SUMMED_TENSORS`; None where no LoRA changes it."""
    changes = [strength * tensors[name].float() for strength, tensors in weighted if name in tensors]
    return torch.stack(changes).sum(0) if changes else None


def combine(weighted: Weighted, weight: Tensor, limit: RankLimit | None) -> CombinedLayer:
    """One layer whose change is Σ s ΔW.  Exact without a limit, which only low-rank changes can do without."""
    others = {name: each for name in SUMMED_TENSORS if (each := sum_tensors(weighted, name)) is not None}
    weighted = [(strength, each) for strength, each in weighted if changes_weight(each) and strength]
    if not weighted:
        return CombinedLayer(weight.shape, None, others)
    if all(is_low_rank(each) for _strength, each in weighted):
        pairs = [low_rank_factors(strength, each) for strength, each in weighted]
        up, down = torch.cat([up for up, _down in pairs], 1), torch.cat([down for _up, down in pairs])
        factors = Factors.exact(up, down) if limit is None else factorize_product(up, down, limit)
    else:
        assert limit is not None, "only low-rank changes can be combined exactly"
        factors = factorize(sum_weight_changes(weighted, weight).flatten(1), limit)
    return CombinedLayer(weight.shape, factors, others)


def low_rank_factors(strength: float, tensors: Tensors) -> tuple[Tensor, Tensor]:
    """s (α / r) B A as up (out, r) and down (r, in) of similar size, so that half precision holds both well.

    Both are scaled by powers of two, which rounds nothing; the strength is in `up` alone, once.
    E5303 where it makes `up` too large for fp32.
    """
    up, down = tensors["up"].float().flatten(1), tensors["down"].float()
    if "mid" in tensors:
        down = torch.einsum("nmhw,mi->nihw", tensors["mid"].float(), down.flatten(1))
    down = down.flatten(1)
    up = strength * lycoris.scale(tensors, len(down)) * up
    if not up.isfinite().all():
        template = _("the result is too large even for fp32 with the strength {strength:g}; use one nearer to 0…1")
        raise TetradError("E5303", template, strength=strength)
    sizes = float(up.double().square().mean()), float(down.double().square().mean())
    if not min(sizes):
        return up, down
    factor = 2.0 ** round((math.log2(sizes[1]) - math.log2(sizes[0])) / 4)
    return up * factor, down / factor
