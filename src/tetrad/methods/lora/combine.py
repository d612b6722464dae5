"""Several LoRAs on one layer as one: exactly, with all their ranks side by side, or approximated by a lower rank."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tetrad.methods.lora import lycoris, oft
from tetrad.methods.lora.svd import Factors, RankLimit, factorize, factorize_product

Tensors = Mapping[str, Tensor]  # of one layer: "down", "up", "alpha" …
Weighted = Sequence[tuple[float, Tensors]]  # what several LoRAs have for one layer, with their strengths
SUMMED_TENSORS = ("diff_b", "w_norm", "b_norm")  # changes of biases and norms, which no factors hold


@dataclass(frozen=True)
class CombinedLayer:
    """The tensors of one layer of the result, and what it has lost of its change."""

    tensors: dict[str, Tensor]
    rank: int = 0
    norm: float = 0.0  # of the change that was asked for
    lost: float = 0.0  # norm of what was left out


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
    """One layer whose change is Σ s ΔW.  Exact without a limit, which only low-rank changes can do without.

    The change is up · down; `with_alpha` gives it the alpha that a file has.
    """
    tensors = {name: each for name in SUMMED_TENSORS if (each := sum_tensors(weighted, name)) is not None}
    weighted = [(strength, each) for strength, each in weighted if changes_weight(each) and strength]
    if not weighted:
        return CombinedLayer(tensors)
    if all(is_low_rank(each) for _strength, each in weighted):
        pairs = [low_rank_factors(strength, each) for strength, each in weighted]
        up, down = torch.cat([up for up, _down in pairs], 1), torch.cat([down for _up, down in pairs])
        if limit is None:
            return CombinedLayer(tensors | _shape_factors(up, down, weight.shape), len(down))
        factors = factorize_product(up, down, limit)
    else:
        assert limit is not None, "only low-rank changes can be combined exactly"
        factors = factorize(sum_weight_changes(weighted, weight).flatten(1), limit)
    return from_factors(factors, weight.shape, tensors)


def from_factors(factors: Factors, shape: Sequence[int], others: Tensors | None = None) -> CombinedLayer:
    """A layer with these factors, beside other tensors that it has."""
    tensors = dict(others or {})
    if rank := len(factors.squares):
        tensors |= _shape_factors(factors.up, factors.down, shape)
    return CombinedLayer(tensors, rank, factors.total**0.5, factors.lost**0.5)


def low_rank_factors(strength: float, tensors: Tensors) -> tuple[Tensor, Tensor]:
    """s (α / r) B A as up (out, r) and down (r, in) of similar size, so that half precision holds both well.

    Both are scaled by powers of two, which rounds nothing; the strength is in `up` alone, once.
    """
    up, down = tensors["up"].float().flatten(1), tensors["down"].float()
    if "mid" in tensors:
        down = torch.einsum("nmhw,mi->nihw", tensors["mid"].float(), down.flatten(1))
    down = down.flatten(1)
    up = strength * lycoris.scale(tensors, len(down)) * up
    sizes = float(up.square().mean()), float(down.square().mean())
    if not min(sizes):
        return up, down
    factor = 2.0 ** round(float(torch.tensor(sizes[1] / sizes[0]).log2()) / 4)
    return up * factor, down / factor


def with_alpha(tensors: Tensors, alpha: float) -> dict[str, Tensor]:
    """A layer's tensors with this alpha, where up · down alone is the change: the scale α / r is taken out of `up`."""
    if "down" not in tensors:
        return dict(tensors)
    return {**tensors, "up": tensors["up"] * (len(tensors["down"]) / alpha), "alpha": torch.tensor(alpha)}


def _shape_factors(up: Tensor, down: Tensor, shape: Sequence[int]) -> dict[str, Tensor]:
    """Factors in the shapes of a LoRA for a weight of this shape (out, in, …)."""
    ones = [1] * (len(shape) - 2)
    return {"down": down.reshape(len(down), *shape[1:]), "up": up.reshape(*up.shape, *ones)}


def group_layers(loras: Sequence[tuple[Mapping[str, float], Mapping[str, Tensors]]]) -> Iterator[tuple[str, Weighted]]:
    """Every layer that some LoRA has, by path, with the tensors of all that have it; strengths are by part."""
    paths = sorted({path for _strengths, layers in loras for path in layers})
    for path in paths:
        part = path.partition(".")[0]
        yield path, [(strengths.get(part, 1.0), layers[path]) for strengths, layers in loras if path in layers]
