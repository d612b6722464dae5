"""What other tools' LoRA-like files say about a layer: a change ΔW of its weight, a formula of a few small tensors.

Formulas and names of the tensors are LyCORIS'.  [Yeh et al. 2024]  Such changes are used, not trained. ΔW is made anew
at each use: kept for every layer, it would take as much memory again as the model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tetrad.methods.base import Change
from tetrad.methods.lowrank import product, weight_of

Tensors = Mapping[str, Tensor]  # of one layer: "down", "hada_w1_a", "alpha" …


def low_rank(tensors: Tensors) -> Tensor:
    """LoRA: (α / r) B A; LoCon's convolutions may have a core between the two."""
    down, up = tensors["down"].flatten(1), tensors["up"].flatten(1)
    return scale(tensors, len(down)) * (tucker(tensors["mid"], up.T, down) if "mid" in tensors else up @ down)


def hadamard(tensors: Tensors) -> Tensor:
    """LoHa: (α / r) (A₁ B₁) ∘ (A₂ B₂)."""
    first, second = (
        two_or_three(tensors[f"hada_w{n}_a"], tensors[f"hada_w{n}_b"], tensors.get(f"hada_t{n}")) for n in (1, 2)
    )
    return scale(tensors, len(tensors["hada_w1_b"])) * first * second


def kronecker(tensors: Tensors) -> Tensor:
    """LoKr: (α / r) W₁ ⊗ W₂, each of them whole or low-rank; where both are whole there is no r, and no α / r."""
    by, factors = 1.0, []
    for n in (1, 2):
        if (factor := tensors.get(f"lokr_w{n}")) is None:
            factor = two_or_three(tensors[f"lokr_w{n}_a"], tensors[f"lokr_w{n}_b"], tensors.get(f"lokr_t{n}"))
            by = scale(tensors, len(tensors[f"lokr_w{n}_b"]))
        factors.append(factor.flatten(1))
    return by * torch.kron(factors[0], factors[1])


def difference(tensors: Tensors) -> Tensor:
    """The change itself."""
    return tensors["diff"]


def two_or_three(a: Tensor, b: Tensor, core: Tensor | None) -> Tensor:
    """A B, or with a core the product of all three, of which A and B then have the rank first."""
    return a @ b.flatten(1) if core is None else tucker(core, a, b)


def tucker(core: Tensor, outs: Tensor, ins: Tensor) -> Tensor:
    """(out, in, h, w) of a core (r, r, h, w) and its two sides (r, out) and (r, in)."""
    return torch.einsum("nmhw,no,mi->oihw", core, outs, ins)


def scale(tensors: Tensors, rank: int) -> float:
    return float(tensors["alpha"]) / rank if "alpha" in tensors else 1.0


@dataclass(frozen=True)
class Algorithm:
    """A formula for ΔW and the tensors it may be made of, of which the first are always there."""

    delta: Callable[[Tensors], Tensor]
    always: tuple[str, ...]
    sometimes: tuple[str, ...] = ()


EXTRAS = ("alpha", "magnitude", "diff_b")  # a scale, DoRA's magnitudes, a change of the bias
LOKR = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t1", "lokr_t2")
LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
ALGORITHMS = (
    Algorithm(low_rank, ("down", "up"), ("mid",)),
    Algorithm(hadamard, LOHA, ("hada_t1", "hada_t2")),
    Algorithm(kronecker, (), LOKR),
    Algorithm(difference, ("diff",)),
)


def delta(tensors: Tensors, shape: torch.Size) -> Tensor | None:
    """ΔW in the layer's own shape; None where the tensors are those of no formula, or not of this shape."""
    names = tensors.keys() - set(EXTRAS)
    for algorithm in ALGORITHMS:
        if names and set(algorithm.always) <= names <= {*algorithm.always, *algorithm.sometimes}:
            try:
                found = algorithm.delta(tensors)
            except (LookupError, RuntimeError):  # one is missing, or they do not multiply
                return None
            whole = len(found) == shape[0] and found.numel() == shape.numel()
            return found.reshape(shape) if whole else None
    return None


def fits(layer: nn.Module, tensors: Tensors) -> bool:
    """Whether the tensors say something about this layer; told by their shapes alone."""
    weight, bias = weight_of(layer), layer.bias
    shapes = {name: tensor if name == "alpha" else tensor.to("meta") for name, tensor in tensors.items()}
    if is_norm(layer):
        return (
            bool(shapes)
            and shapes.keys() <= {"w_norm", "b_norm"}
            and all(tensor.shape == weight.shape for tensor in shapes.values())
        )
    shift, magnitude = shapes.get("diff_b"), shapes.get("magnitude")
    shift_fits = shift is None or (isinstance(bias, Tensor) and shift.shape == bias.shape)
    magnitude_fits = magnitude is None or magnitude.numel() == weight.shape[norm_axis(magnitude)]
    alpha_fits = "alpha" not in shapes or shapes["alpha"].numel() == 1
    return shift_fits and magnitude_fits and alpha_fits and delta(shapes, weight.shape) is not None


def is_norm(layer: nn.Module) -> bool:
    return isinstance(layer, nn.GroupNorm | nn.LayerNorm)


def changed(layer: nn.Module, tensors: Tensors, strength: float) -> Change:
    """The change that makes a layer's weight W + s ΔW, and its bias likewise."""
    place = weight_of(layer).device
    tensors = {name: tensor if name == "alpha" else tensor.to(place, torch.float32) for name, tensor in tensors.items()}
    return changed_norm(layer, tensors, strength) if is_norm(layer) else changed_layer(layer, tensors, strength)


def changed_layer(layer: nn.Module, tensors: Tensors, strength: float) -> Change:
    multiplied, weight, shift = product(layer), weight_of(layer), tensors.get("diff_b")

    def change(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            difference = delta(tensors, weight.shape)
            assert difference is not None
            if (magnitude := tensors.get("magnitude")) is not None:
                difference = weighed(weight.float() + difference, magnitude) - weight.float()
        y = call(x) + multiplied(x, (strength * difference).to(x.dtype))
        if shift is None:
            return y
        return y + (strength * shift).to(y.dtype).reshape(-1, *[1] * (weight.ndim - 2))

    return change


def weighed(weight: Tensor, magnitude: Tensor) -> Tensor:
    """m W / ‖W‖, m being (out, 1, …) for the norm of each output's row, or (1, in, …) for that of each input's column.

    LyCORIS learned columns until 2025 and learns rows since, as the paper and PEFT do.
    """
    axis = norm_axis(magnitude)
    others = [other for other in range(weight.ndim) if other != axis]
    norm = torch.linalg.vector_norm(weight, dim=others, keepdim=True)
    found: Tensor = weight * (magnitude.reshape(norm.shape) / norm)
    return found


def norm_axis(magnitude: Tensor) -> int:
    """0 where a magnitude is for each output, 1 where it is for each input."""
    return 0 if magnitude.numel() == magnitude.shape[0] else 1


def changed_norm(layer: nn.Module, tensors: Tensors, strength: float) -> Change:
    """A norm's weight and bias act on the same normalized input, so their change may be computed beside it."""
    zeros = torch.zeros_like(weight_of(layer), dtype=torch.float32)
    weight, bias = (strength * tensors.get(name, zeros) for name in ("w_norm", "b_norm"))

    def change(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if isinstance(layer, nn.GroupNorm):
            beside = F.group_norm(x, layer.num_groups, weight.to(x.dtype), bias.to(x.dtype), layer.eps)
        else:
            assert isinstance(layer, nn.LayerNorm)
            beside = F.layer_norm(x, layer.normalized_shape, weight.to(x.dtype), bias.to(x.dtype), layer.eps)
        return call(x) + beside

    return change
