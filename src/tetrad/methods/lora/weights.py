"""A LoRA's tensors layer by layer: a model's layers, the tensors that fit them, and the branches built from those."""

from collections import Counter
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods.lora import lycoris, oft
from tetrad.methods.lora.layer import LowRankBranch, weight_of
from tetrad.methods.lora.lycoris_branch import LycorisBranch, is_trainable, rank_of
from tetrad.models.base import Model
from tetrad.weights import Weights


def named_layers(model: Model) -> Iterator[tuple[str, nn.Module]]:
    """Every layer that a LoRA file may have tensors for, by canonical path; norms are only in LyCORIS files."""
    for part, network in model.parts().items():
        for path, module in network.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d) or (lycoris.is_norm(module) and module.weight is not None):
                yield f"{part}.{path}", module


def is_spatial_convolution(layer: nn.Module) -> bool:
    """Whether a layer is a convolution with a kernel larger than 1×1."""
    return isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)


def load_branches(
    model: Model, weights: Weights, by_columns: bool = False
) -> Iterator[tuple[str, nn.Module, LowRankBranch | LycorisBranch]]:
    """The branches of a trained LoRA, LoHa, LoKr or OFT, to continue training; `by_columns`: they get magnitudes so.

    Raises E5102 where they do not fit the model, E5130 for the changes of norms and biases and for full differences.
    """
    layers = dict(named_layers(model))
    for path, tensors in group_by_layer(weights).items():
        layer = get_matching_layer(layers, path, tensors, model)
        if not is_trainable(tensors):
            raise TetradError(
                "E5130",
                _(
                    "training cannot continue from this file: {layer} has the tensors {tensors}, which are not those of"
                    " a LoRA, LoHa, LoKr or OFT; use the file in prompts, or start a new LoRA"
                ),
                layer=path,
                tensors=", ".join(sorted(tensors)),
            )
        branch = None if by_columns else build_branch(layer, tensors)
        yield path, layer, branch or LycorisBranch(tensors, weight_of(layer).device)


def group_by_layer(weights: Weights) -> dict[str, dict[str, Tensor]]:
    """The tensors of each layer, sorted by path."""
    tensors_by_layer: dict[str, dict[str, Tensor]] = {}
    for name in sorted(weights.tensors):
        path, _, tensor_name = name.rpartition(".")
        tensors_by_layer.setdefault(path, {})[tensor_name] = weights.tensors[name]
    return tensors_by_layer


def get_matching_layer(
    layers: Mapping[str, nn.Module], path: str, tensors: dict[str, Tensor], model: Model
) -> nn.Module:
    """The layer at a path.

    E5102 where there is none, or the tensors do not fit its shape; E5104 where they do not belong together.
    """
    layer = layers.get(path)
    if _are_damaged(tensors):
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in sorted(tensors.items()))
        template = _("this LoRA is damaged: at {layer} it has {tensors}, which do not belong together; get it again")
        raise TetradError("E5104", template, layer=path, tensors=shapes)
    if layer is None or not lycoris.matches_layer(layer, tensors):
        template = _(
            "this LoRA does not fit {model} ({family}) at {layer}; it was made for another model, so use the model it"
            " was made for"
        )
        family = model.family_title
        if model.name == family:  # no file, but the family's released model
            released = _("this LoRA does not fit the released {family} models at {layer}; give its own with --model")
            raise TetradError("E5102", released, family=family, layer=path)
        raise TetradError("E5102", template, model=model.name, family=family, layer=path)
    return layer


def _are_damaged(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a tensor is a single number, or one of a LoRA's two matrices is missing or has another rank."""
    if any(tensor.ndim == 0 for name, tensor in tensors.items() if name != "alpha"):
        return True
    down, up = tensors.get("down"), tensors.get("up")
    if down is None or up is None:
        return (down is None) != (up is None)
    return "mid" not in tensors and (up.ndim < 2 or up.shape[1] != len(down))


def build_branch(layer: nn.Module, tensors: dict[str, Tensor]) -> LowRankBranch | None:
    """The branch that a layer's tensors make; None where they are not those of a plain LoRA or DoRA."""
    if not {"down", "up"} <= tensors.keys() <= {"down", "up", "alpha", "magnitude"}:
        return None
    magnitude = tensors.get("magnitude")
    if magnitude is not None and lycoris.norm_axis(magnitude) != 0:
        return None
    weight, down, up = weight_of(layer), tensors["down"], tensors["up"]
    ones = [1] * (weight.ndim - 2)  # files may store a 1×1 convolution as a matrix, or the reverse
    return LowRankBranch(
        down.reshape(len(down), *weight.shape[1:]).to(weight.device),
        up.reshape(len(up), len(down), *ones).to(weight.device),
        float(tensors.get("alpha", torch.tensor(float(len(down))))),
        None if magnitude is None else magnitude.reshape(len(up), 1, *ones).to(weight.device),
    )


def read_layer_sizes(weights: Weights, model: Model) -> dict[str, tuple[int, float, bool]]:
    """Rank and alpha of each layer that has a rank, and whether it is a convolution larger than 1×1."""
    layers, layer_sizes = dict(named_layers(model)), {}
    for path, tensors in group_by_layer(weights).items():
        if path in layers and (rank := rank_of(tensors)):
            has_alpha = "alpha" in tensors and not oft.is_oft(tensors)  # an OFT's is its constraint
            alpha = float(tensors["alpha"]) if has_alpha else float(rank)
            layer_sizes[path] = rank, alpha, is_spatial_convolution(layers[path])
    return layer_sizes


def most_common_size(
    layer_sizes: Mapping[str, tuple[int, float, bool]], is_convolution: bool
) -> tuple[int, float] | None:
    """The rank and alpha that most layers have, of convolutions larger than 1×1 or of all other layers."""
    counts = Counter((rank, alpha) for rank, alpha, has_kernel in layer_sizes.values() if has_kernel == is_convolution)
    return counts.most_common(1)[0][0] if counts else None
