"""Bakes a network into a plain LoRA, which every program reads.

Programs disagree on what a DoRA's magnitudes mean, or ignore them; diffusers' format has no place for LyCORIS' tensors.
"""

import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tetrad.locales import Message, _
from tetrad.methods.lora import lycoris
from tetrad.methods.lora.layer import weight_of
from tetrad.methods.lora.lycoris_branch import is_trainable, rank_of
from tetrad.methods.lora.svd import Factors, RankLimit, factorize
from tetrad.methods.lora.weights import group_by_layer, named_layers
from tetrad.models.base import Model
from tetrad.weights import Weights

_MAX_RANK_FACTOR = 4  # the plain LoRA has at most this many times the network's rank
_RANK_OF_FULL = 16  # what counts as the rank of a LoKr of full matrices, which has none
_ACCEPTED_LOSS = 0.01  # a smaller rank is used where it loses no more than this share of the change
# kohya's metadata entries about ranks; "Dynamic" is what kohya's own merges write.
_NETWORK_METADATA = {
    "ss_network_module": "networks.lora",
    "ss_network_dim": "Dynamic",
    "ss_network_alpha": "Dynamic",
    "ss_network_args": json.dumps({}),
}


def bake_dora(weights: Weights, model: Model) -> tuple[Weights, Message | None]:
    """The same weights with a plain LoRA instead of every DoRA, and how near to it that is.

    A DoRA of LyCORIS' other algorithms stays as it is, since no small rank is near to it.
    """
    by_path = group_by_layer(weights)
    doras = {path: tensors for path, tensors in by_path.items() if {"magnitude", "down"} <= tensors.keys()}
    return _bake(weights, doras, model)


def bake_all(weights: Weights, model: Model) -> tuple[Weights, Message | None]:
    """The same for every layer that could be trained and is no plain LoRA."""
    by_path = {path: tensors for path, tensors in group_by_layer(weights).items() if is_trainable(tensors)}
    others = {path: tensors for path, tensors in by_path.items() if not tensors.keys() <= {"down", "up", "alpha"}}
    return _bake(weights, others, model)


def _bake(weights: Weights, baked: Mapping[str, Mapping[str, Tensor]], model: Model) -> tuple[Weights, Message | None]:
    """Weights that change this model as nearly as possible with plain LoRAs for some layers, and how near that is.

    Every such layer gets the same rank and alpha, because diffusers misreads kohya's alphas where they differ.
    """
    if not baked:
        return weights, None
    layers = dict(named_layers(model))
    rank = _MAX_RANK_FACTOR * max(rank_of(tensors) or _RANK_OF_FULL for tensors in baked.values())
    factors = {path: _factorize(layers[path], tensors, rank) for path, tensors in baked.items()}
    rank, loss = _choose_rank(factors, rank)
    tensors = {name: tensor for name, tensor in weights.tensors.items() if name.rpartition(".")[0] not in baked}
    for path, factor in factors.items():
        dtype = next(tensor for name, tensor in baked[path].items() if name != "alpha").dtype
        for name, tensor in _build_branch(factor, weight_of(layers[path]), rank).items():
            tensors[f"{path}.{name}"] = tensor.to(dtype)
    message = Message(
        _(
            "the network is saved as a plain LoRA of rank {rank}, which every program reads; {loss} of its change is"
            " lost by that (save.format = lycoris loses nothing, but not every program reads it correctly)"
        ),
        rank=rank,
        loss=f"{loss:.1%}",
    )
    return Weights(weights.kind, tensors, weights.metadata | _NETWORK_METADATA), message


def _factorize(layer: nn.Module, tensors: Mapping[str, Tensor], rank: int) -> Factors:
    weight = weight_of(layer)
    on_device = {name: tensor.to(weight.device, torch.float32) for name, tensor in tensors.items()}
    return factorize(lycoris.weight_change(on_device, weight.float()).flatten(1), RankLimit(rank))


def _choose_rank(factors: Mapping[str, Factors], max_rank: int) -> tuple[int, float]:
    """The smallest rank for all layers that loses little enough, else the largest, and the share that is lost."""
    total = sum(factor.total for factor in factors.values())
    kept = torch.zeros(max_rank, dtype=torch.float64)
    for factor in factors.values():
        kept[: len(factor.squares)] += factor.squares
    losses = (1 - kept.cumsum(0) / max(total, 1e-30)).clamp(min=0).sqrt().tolist()
    if not total:
        return 1, 0.0
    return next(((rank, loss) for rank, loss in enumerate(losses, 1) if loss <= _ACCEPTED_LOSS), (max_rank, losses[-1]))


def _build_branch(factors: Factors, weight: Tensor, rank: int) -> dict[str, Tensor]:
    """A layer's tensors at a rank; a layer that has fewer is filled up with zeros."""
    ones = [1] * (weight.ndim - 2)
    up, down = factors.up[:, :rank], factors.down[:rank]
    missing = rank - len(down)
    up = torch.nn.functional.pad(up, (0, missing))
    down = torch.nn.functional.pad(down, (0, 0, 0, missing))
    return {
        "down": down.reshape(rank, *weight.shape[1:]),
        "up": up.reshape(len(up), rank, *ones),
        "alpha": torch.tensor(float(rank)),
    }
