"""LyCORIS' algorithms, LoHa, LoKr and others: a change ΔW of a layer's weight, computed from a few small tensors.

Formulas and tensor names are LyCORIS'.  [Yeh et al. 2024]  ΔW is computed at each use, forward and backward: kept for
every layer, it would take as much memory as the model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tetrad.methods.base import ForwardChange
from tetrad.methods.lora import oft
from tetrad.methods.lora.layer import NO_DROPOUT, LoraDropout, operation_of, skip_at_random, weight_of
from tetrad.methods.lora.recompute import apply_recomputed

Tensors = Mapping[str, Tensor]  # of one layer: "down", "hada_w1_a", "alpha" …


def low_rank(tensors: Tensors) -> Tensor:
    """LoRA: (α / r) B A; LoCon's convolutions may have a core tensor between the two."""
    down, up = tensors["down"].flatten(1), tensors["up"].flatten(1)
    return scale(tensors, len(down)) * (_tucker(tensors["mid"], up.T, down) if "mid" in tensors else up @ down)


def _hadamard(tensors: Tensors) -> Tensor:
    """LoHa: (α / r) (A₁ B₁) ∘ (A₂ B₂)."""
    first, second = (
        multiply_factors(tensors[f"hada_w{n}_a"], tensors[f"hada_w{n}_b"], tensors.get(f"hada_t{n}")) for n in (1, 2)
    )
    return scale(tensors, len(tensors["hada_w1_b"])) * first * second


def _kronecker(tensors: Tensors) -> Tensor:
    """LoKr: (α / r) W₁ ⊗ W₂, each of them full or low-rank; where both are full there is no r, and no α / r."""
    factor_scale, factors = 1.0, []
    for n in (1, 2):
        if (factor := tensors.get(f"lokr_w{n}")) is None:
            factor = multiply_factors(tensors[f"lokr_w{n}_a"], tensors[f"lokr_w{n}_b"], tensors.get(f"lokr_t{n}"))
            factor_scale = scale(tensors, len(tensors[f"lokr_w{n}_b"]))
        factors.append(factor.flatten(1))
    return factor_scale * torch.kron(factors[0], factors[1])


def difference(tensors: Tensors) -> Tensor:
    """Full: ΔW itself."""
    return tensors["diff"]


def multiply_factors(a: Tensor, b: Tensor, core: Tensor | None) -> Tensor:
    """A B, or with a core the product of all three; A and B then have the rank as first dimension."""
    return a @ b.flatten(1) if core is None else _tucker(core, a, b)


def _tucker(core: Tensor, outs: Tensor, ins: Tensor) -> Tensor:
    """(out, in, h, w) from a core (r, r, h, w) and the factors (r, out) and (r, in)."""
    return torch.einsum("nmhw,no,mi->oihw", core, outs, ins)


def scale(tensors: Tensors, rank: int) -> float:
    return float(tensors["alpha"]) / rank if "alpha" in tensors else 1.0


@dataclass(frozen=True)
class Algorithm:
    """A formula for ΔW and the tensors it uses."""

    delta: Callable[[Tensors], Tensor]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


EXTRA_TENSORS = ("alpha", "magnitude", "diff_b")  # the scale, DoRA's magnitudes, the change of the bias
_LOKR_TENSORS = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t1", "lokr_t2")
_LOHA_TENSORS = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
ALGORITHMS = (
    Algorithm(low_rank, ("down", "up"), ("mid",)),
    Algorithm(_hadamard, _LOHA_TENSORS, ("hada_t1", "hada_t2")),
    Algorithm(_kronecker, (), _LOKR_TENSORS),
    Algorithm(difference, ("diff",)),
)


def delta(tensors: Tensors, shape: torch.Size) -> Tensor | None:
    """ΔW in the layer's shape; None where the tensors belong to no algorithm or do not fit the shape."""
    names = tensors.keys() - set(EXTRA_TENSORS)
    if not names and "diff_b" in tensors:  # only the bias changes
        return torch.zeros(shape, device=tensors["diff_b"].device)
    for algorithm in ALGORITHMS:
        if names and set(algorithm.required) <= names <= {*algorithm.required, *algorithm.optional}:
            try:
                result = algorithm.delta(tensors)
            # A tensor is missing, their shapes do not fit each other, or the rank is 0.
            except (LookupError, RuntimeError, ArithmeticError):
                return None
            has_shape = len(result) == shape[0] and result.numel() == shape.numel()
            return result.reshape(shape) if has_shape else None
    return None


def matches_layer(layer: nn.Module, tensors: Tensors) -> bool:
    """Whether the tensors fit this layer, judged by their names and shapes."""
    weight, bias = weight_of(layer), layer.bias
    shapes = {name: tensor if name == "alpha" else tensor.to("meta") for name, tensor in tensors.items()}
    if is_norm(layer):
        return (
            bool(shapes)
            and shapes.keys() <= {"w_norm", "b_norm"}
            and all(tensor.shape == weight.shape for tensor in shapes.values())
        )
    if oft.is_oft(tensors):
        return oft.matches_weight(tensors, weight.shape)
    bias_delta, magnitude = shapes.get("diff_b"), shapes.get("magnitude")
    bias_fits = bias_delta is None or (isinstance(bias, Tensor) and bias_delta.shape == bias.shape)
    magnitude_fits = magnitude is None or magnitude.numel() == weight.shape[norm_axis(magnitude)]
    alpha_fits = "alpha" not in shapes or shapes["alpha"].numel() == 1
    return bias_fits and magnitude_fits and alpha_fits and delta(shapes, weight.shape) is not None


def is_norm(layer: nn.Module) -> bool:
    return isinstance(layer, nn.GroupNorm | nn.LayerNorm)


def with_delta(layer: nn.Module, tensors: Tensors, strength: float, dropout: LoraDropout = NO_DROPOUT) -> ForwardChange:
    """The change of a layer's forward that makes its weight W + s ΔW, and its bias likewise.

    Parameters among the tensors are trained by it.
    """
    device = weight_of(layer).device
    tensors = {
        name: tensor if name == "alpha" else tensor.to(device, torch.float32) for name, tensor in tensors.items()
    }
    if is_norm(layer):
        return _with_norm_delta(layer, tensors, strength)
    return skip_at_random(_with_weight_delta(layer, tensors, strength, dropout), dropout)


def _with_weight_delta(layer: nn.Module, tensors: Tensors, strength: float, dropout: LoraDropout) -> ForwardChange:
    operation, weight, bias_delta = operation_of(layer), weight_of(layer), tensors.get("diff_b")
    names = [name for name in tensors if name not in ("alpha", "diff_b")]
    alpha = {name: tensors[name] for name in ("alpha",) if name in tensors}
    values = [tensors[name] for name in names]

    def make_weight(*tensors: Tensor) -> Tensor:
        kept_rows = tensors[len(names)] if len(tensors) > len(names) else None
        return strength * weight_change(dict(zip(names, tensors, strict=False)) | alpha, weight.float(), kept_rows)

    def change(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        y = call(x)
        if names:
            kept_rows = [dropout.draw_rows(weight)] if dropout.ranks and torch.is_grad_enabled() else []
            y = y + apply_recomputed(operation, make_weight, x, [*values, *kept_rows])
        if bias_delta is None:
            return y
        return y + (strength * bias_delta).to(y.dtype).reshape(-1, *[1] * (weight.ndim - 2))

    return change


def weight_change(tensors: Tensors, weight: Tensor, kept_rows: Tensor | None = None) -> Tensor:
    """The change of a layer's weight: ΔW, or with magnitudes m (W + ΔW) / ‖W + ΔW‖ - W.

    `kept_rows` (out, 1, …) is 1 for each of ΔW's rows that dropout keeps, and 0 for the others.
    """
    if oft.is_oft(tensors):
        return oft.weight_change(tensors, weight)
    weight_delta = delta(tensors, weight.shape)
    assert weight_delta is not None
    if kept_rows is not None:
        weight_delta = weight_delta * kept_rows
    if (magnitude := tensors.get("magnitude")) is None:
        return weight_delta
    return _apply_magnitude(weight + weight_delta, magnitude) - weight


def _apply_magnitude(weight: Tensor, magnitude: Tensor) -> Tensor:
    """m W / ‖W‖, with m (out, 1, …) and the norm of each output's row, or m (1, in, …) and that of each input's column.

    LyCORIS used columns until 2025 and rows since then, as the paper and PEFT do.
    """
    norm = weight_norms(weight, norm_axis(magnitude))
    return weight * (magnitude.reshape(norm.shape) / norm)


def weight_norms(weight: Tensor, axis: int) -> Tensor:
    """The norm of each output's row (axis 0), (out, 1, …), or of each input's column (axis 1), (1, in, …)."""
    other_axes = [other for other in range(weight.ndim) if other != axis]
    norms: Tensor = torch.linalg.vector_norm(weight, dim=other_axes, keepdim=True)
    return norms


def norm_axis(magnitude: Tensor) -> int:
    """0 where a magnitude has one value for each output, 1 where it has one for each input."""
    return 0 if magnitude.numel() == magnitude.shape[0] else 1


def _with_norm_delta(layer: nn.Module, tensors: Tensors, strength: float) -> ForwardChange:
    """The change of a norm's weight and bias; both act on the same normalized input, so the change is added to it."""
    zeros = torch.zeros_like(weight_of(layer), dtype=torch.float32)
    weight, bias = (strength * tensors.get(name, zeros) for name in ("w_norm", "b_norm"))

    def change(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if isinstance(layer, nn.GroupNorm):
            norm_delta = F.group_norm(x, layer.num_groups, weight.to(x.dtype), bias.to(x.dtype), layer.eps)
        else:
            assert isinstance(layer, nn.LayerNorm)
            norm_delta = F.layer_norm(x, layer.normalized_shape, weight.to(x.dtype), bias.to(x.dtype), layer.eps)
        return call(x) + norm_delta

    return change
