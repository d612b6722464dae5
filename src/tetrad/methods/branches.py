"""A LoRA's tensors layer by layer: which layers there are, which tensors fit them, and what branches those make."""

from collections import Counter
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from tetrad.errors import TetradError
from tetrad.methods import lycoris
from tetrad.methods.lowrank import LowRank, weight_of
from tetrad.models.base import Model
from tetrad.weights import Weights


def layers(model: Model) -> Iterator[tuple[str, nn.Module]]:
    """Every layer that a LoRA file may speak of, by canonical path; norms only in LyCORIS' files."""
    for part, network in model.parts().items():
        for path, module in network.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d) or (lycoris.is_norm(module) and module.weight is not None):
                yield f"{part}.{path}", module


def is_wide(layer: nn.Module) -> bool:
    """Whether a layer is a convolution that sees its neighbours."""
    return isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)


def begun(model: Model, start: Weights) -> Iterator[tuple[str, nn.Module, LowRank]]:
    """The branches of an earlier LoRA, to be trained further.  E5102 where they do not fit, E5130 where none are."""
    known = dict(layers(model))
    for path, tensors in by_layer(start).items():
        layer = fitting(known, path, tensors, model)
        if (branch := branch_of(layer, tensors)) is None:
            raise TetradError(
                "E5130",
                f"training cannot go on from this file: at {path} it holds {', '.join(sorted(tensors))}, no plain "
                "LoRA; use it in a prompt, or begin a LoRA anew",
            )
        yield path, layer, branch


def by_layer(weights: Weights) -> dict[str, dict[str, Tensor]]:
    """The tensors of each layer, by path in the order of paths."""
    found: dict[str, dict[str, Tensor]] = {}
    for name in sorted(weights.tensors):
        path, _, kind = name.rpartition(".")
        found.setdefault(path, {})[kind] = weights.tensors[name]
    return found


def fitting(known: Mapping[str, nn.Module], path: str, tensors: dict[str, Tensor], model: Model) -> nn.Module:
    """The layer at a path, for which these tensors are.  E5102 where there is none, or of another shape."""
    layer = known.get(path)
    if layer is None or not lycoris.fits(layer, tensors):
        what = f"this LoRA does not fit {model.name} ({model.title}) at {path}"
        raise TetradError("E5102", f"{what}; it was made for another model")
    return layer


def branch_of(layer: nn.Module, tensors: dict[str, Tensor]) -> LowRank | None:
    """The branch that the tensors of a layer are, where they are a plain LoRA's or a DoRA's."""
    if not {"down", "up"} <= tensors.keys() <= {"down", "up", "alpha", "magnitude"}:
        return None
    magnitude = tensors.get("magnitude")
    if magnitude is not None and lycoris.norm_axis(magnitude) != 0:
        return None
    weight, down, up = weight_of(layer), tensors["down"], tensors["up"]
    ones = [1] * (weight.ndim - 2)  # a matrix and a 1×1 convolution are the same numbers
    return LowRank(
        down.reshape(len(down), *weight.shape[1:]).to(weight.device),
        up.reshape(len(up), len(down), *ones).to(weight.device),
        float(tensors.get("alpha", torch.tensor(float(len(down))))),
        None if magnitude is None else magnitude.reshape(len(up), 1, *ones).to(weight.device),
    )


def sizes(weights: Weights) -> dict[str, tuple[int, float, bool]]:
    """Rank and alpha of each layer that has a plain branch, and whether it is a convolution with neighbours."""
    found = {}
    for path, tensors in by_layer(weights).items():
        if (down := tensors.get("down")) is not None:
            alpha = tensors.get("alpha", torch.tensor(float(len(down))))
            found[path] = len(down), float(alpha), down.shape[2:] not in ((), (1, 1))
    return found


def usual(found: Mapping[str, tuple[int, float, bool]], wide: bool) -> tuple[int, float] | None:
    """The rank and alpha that most layers have, of convolutions that see their neighbours or of all else."""
    counted = Counter((rank, alpha) for rank, alpha, is_wide in found.values() if is_wide == wide)
    return counted.most_common(1)[0][0] if counted else None
