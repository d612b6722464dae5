"""LoRA: attach branches to a model, y = W x + ΔW x, with ΔW = (α / r) B A or that of another algorithm.

[Hu et al. 2021, eq. 3]
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Generator, Tensor, nn

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods.base import ParamGroup, Patches
from tetrad.methods.lora import blocks, lycoris
from tetrad.methods.lora.continuing import resume_from
from tetrad.methods.lora.creation import Branch, create_branch
from tetrad.methods.lora.formats import FORMATS
from tetrad.methods.lora.layer import NO_DROPOUT, LoraDropout
from tetrad.methods.lora.settings import Lora
from tetrad.methods.lora.weights import (
    build_branch,
    get_matching_layer,
    group_by_layer,
    is_spatial_convolution,
    load_branches,
    named_layers,
)
from tetrad.models.base import Model
from tetrad.models.block_names import list_blocks
from tetrad.weights import Weights

__all__ = ["FORMATS", "attach", "check_settings", "full_precision_parts", "load", "resume_from"]


def attach(settings: Lora, model: Model, rng: Generator, start: Weights | None = None) -> "LoraAdapter":
    """New branches as the settings say, or exactly those of `start`, with its algorithm, ranks and alphas.

    Raises E3121 for a block the model does not have, E5103 where nothing can be trained, E5130 where `start` has
    tensors that cannot be trained.
    """
    adapter = LoraAdapter(settings.plus_ratio, settings.max_norm)
    by_columns = settings.dora and not settings.wd_on_output
    loaded = _create_branches(settings, model, rng) if start is None else load_branches(model, start, by_columns)
    for path, layer, branch in loaded:
        if settings.dora and branch.magnitude is None:
            branch.init_magnitude(layer, settings.wd_on_output)
        dropout = LoraDropout(settings.dropout, settings.rank_dropout, settings.module_dropout)
        adapter.add_branch(path, layer, branch, dropout=dropout)
        if not settings.text_encoder and path.partition(".")[0] != model.denoiser:
            adapter.freeze_branch(path)
    if not adapter.groups():
        raise TetradError(
            "E5103",
            _("these settings train no layer of {model}; check method.block_ranks and method.text_encoder"),
            model=model.name,
        )
    return adapter


def load(model: Model, weights: Weights, strength: float | Mapping[str, float] = 1.0) -> "LoraAdapter":
    """Attach a trained LoRA or one of LyCORIS' algorithms; strengths may be given by part.

    Raises E5102 where it does not fit the model's layers.
    """
    adapter, layers = LoraAdapter(), dict(named_layers(model))
    for path, tensors in group_by_layer(weights).items():
        part_strength = strength if isinstance(strength, float | int) else strength.get(path.partition(".")[0], 1.0)
        layer = get_matching_layer(layers, path, tensors, model)
        if (branch := build_branch(layer, tensors)) is not None:
            adapter.add_branch(path, layer, branch, part_strength)
        else:
            adapter.add_frozen_tensors(path, layer, tensors, part_strength)
    return adapter


def check_settings(settings: Lora, model: Model) -> None:
    """E3121 for a block the model does not have, or in which no layer is trained; one with a number may be empty."""
    available = {
        block
        for path, _layer in named_layers(model)
        if blocks.is_trained_layer(settings, path, model)
        for block in model.layers.blocks(path)
    }
    numbered = [block for block in list_blocks(model) if block.isupper()]
    for key in ("block_ranks", "block_alphas", "conv_block_ranks", "conv_block_alphas"):
        names = set(getattr(settings, key)).difference(numbered)
        blocks.require(key, names, available, model.name)


def full_precision_parts(settings: Lora, model: Model) -> tuple[str, ...]:
    return ()


def _create_branches(settings: Lora, model: Model, rng: Generator) -> Iterator[tuple[str, nn.Module, Branch]]:
    """A new branch, still without effect, for each layer that the settings train."""
    check_settings(settings, model)
    layers = {path: layer for path, layer in named_layers(model) if blocks.is_trained_layer(settings, path, model)}
    for path, layer in layers.items():
        rank, alpha = blocks.resolve_size(settings, path, is_spatial_convolution(layer), model)
        if rank:
            yield path, layer, create_branch(settings, layer, rank, alpha, rng)


class LoraAdapter(Patches):
    """Branches beside the layers of one model, and changes of a file that are used but not trained."""

    def __init__(self, plus_ratio: float = 1.0, max_norm: float = 0.0) -> None:
        super().__init__()
        self.plus_ratio = plus_ratio
        self.max_norm = max_norm
        self.branches: dict[str, Branch] = {}
        self.layers: dict[str, nn.Module] = {}
        self.frozen_tensors: dict[str, dict[str, Tensor]] = {}
        self.frozen_paths: set[str] = set()

    def add_branch(
        self,
        path: str,
        layer: nn.Module,
        branch: Branch,
        strength: float = 1.0,
        dropout: LoraDropout = NO_DROPOUT,
    ) -> None:
        self.branches[path], self.layers[path] = branch, layer
        if strength:
            self.around(layer, branch.change(layer, strength, dropout))

    def add_frozen_tensors(self, path: str, layer: nn.Module, tensors: dict[str, Tensor], strength: float) -> None:
        self.frozen_tensors[path] = tensors
        if strength:
            self.around(layer, lycoris.with_delta(layer, tensors, strength))

    def freeze_branch(self, path: str) -> None:
        """Use and save a branch, but do not train it."""
        self.branches[path].requires_grad_(False)
        self.frozen_paths.add(path)

    def groups(self) -> list[ParamGroup]:
        groups: dict[tuple[str, float], list[tuple[nn.Parameter, str]]] = {}
        for path, branch in self.branches.items():
            if path in self.frozen_paths:
                continue
            part = path.partition(".")[0]
            for name, parameter in branch.named_parameters():
                lr_scale = self.plus_ratio if name == "up" else 1.0
                groups.setdefault((part, lr_scale), []).append((parameter, path))
        return [
            ParamGroup(part, [parameter for parameter, _path in pairs], lr_scale, tuple(path for _, path in pairs))
            for (part, lr_scale), pairs in groups.items()
        ]

    @property
    def has_constraint(self) -> bool:  # type: ignore[override]
        return self.max_norm > 0

    def after_update(self) -> None:
        if self.max_norm:
            for path, branch in self.branches.items():
                branch.limit_norm(self.max_norm, self.layers[path])

    def weights(self) -> Weights:
        tensors = {
            f"{path}.{name}": tensor
            for path, layer_tensors in self.frozen_tensors.items()
            for name, tensor in layer_tensors.items()
        }
        for path, branch in self.branches.items():
            for name, parameter in branch.named_parameters():
                tensors[f"{path}.{name}"] = parameter.detach().clone()
            tensors[f"{path}.alpha"] = torch.tensor(float(branch.alpha))
        return Weights("lora", tensors)
