"""LoRA: attach low-rank branches to a model, y = W x + (α / r) B A x.  [Hu et al. 2021, eq. 3]"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Generator, Tensor, nn

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods.base import ParamGroup, Patches
from tetrad.methods.lora import blocks, lycoris
from tetrad.methods.lora.formats import FORMATS
from tetrad.methods.lora.inspect import describe_file
from tetrad.methods.lora.layer import NO_DROPOUT, LoraDropout, LowRankBranch, with_branch
from tetrad.methods.lora.settings import Lora
from tetrad.methods.lora.weights import (
    build_branch,
    get_matching_layer,
    group_by_layer,
    is_spatial_convolution,
    load_branches,
    most_common_size,
    named_layers,
    read_layer_sizes,
)
from tetrad.models.base import Model
from tetrad.settings.toml import replace_in
from tetrad.weights import Weights

__all__ = ["FORMATS", "attach", "check_settings", "describe_file", "full_precision_parts", "load", "resume_from"]

_RANK_SETTINGS = (  # the settings of the branches' size
    *("rank", "alpha", "rslora", "block_ranks", "block_alphas"),
    *("conv_rank", "conv_alpha", "conv_block_ranks", "conv_block_alphas"),
)


def attach(settings: Lora, model: Model, rng: Generator, start: Weights | None = None) -> "LoraAdapter":
    """New branches as the settings say, or exactly those of `start`, with its ranks and alphas.

    Raises E3121 for a block the model does not have, E5103 where nothing can be trained, E5130 where `start` has
    tensors of another algorithm.
    """
    adapter = LoraAdapter(settings.plus_ratio, settings.max_norm)
    for path, layer, branch in _create_branches(settings, model, rng) if start is None else load_branches(model, start):
        if settings.dora and branch.magnitude is None:
            branch.init_magnitude(layer)
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


def resume_from(settings: Lora, start: Weights, model: Model) -> Lora:
    """The settings with the file's ranks and alphas, the most common where they differ.

    E5111 where the settings ask for others.
    """
    layer_sizes = read_layer_sizes(start)
    size = most_common_size(layer_sizes, is_convolution=False)
    conv_size = most_common_size(layer_sizes, is_convolution=True)
    defaults = {name: getattr(Lora(), name) for name in _RANK_SETTINGS}
    from_file = defaults | dict(zip(("rank", "alpha"), size or (), strict=False))
    from_file |= dict(zip(("conv_rank", "conv_alpha"), conv_size or (), strict=False))
    requested = {name: getattr(settings, name) for name in _RANK_SETTINGS}
    if requested not in (defaults, from_file):
        changed = [name for name in _RANK_SETTINGS if requested[name] != defaults[name]]
        _check_same_sizes(settings, model, layer_sizes, changed)
    magnitude_count = sum(name.endswith(".magnitude") for name in start.tensors)
    is_dora = 0 < len(layer_sizes) == magnitude_count
    return replace_in("method", settings, **from_file, dora=settings.dora or is_dora)


def check_settings(settings: Lora, model: Model) -> None:
    """E3121 for a block the model does not have."""
    available = {
        block
        for path, _layer in named_layers(model)
        if _is_trained_layer(settings, path, model)
        for block in model.layers.blocks(path)
    }
    for key in ("block_ranks", "block_alphas", "conv_block_ranks", "conv_block_alphas"):
        blocks.require(key, getattr(settings, key), available, model.name)


def full_precision_parts(settings: Lora, model: Model) -> tuple[str, ...]:
    return ()


def _check_same_sizes(
    settings: Lora, model: Model, layer_sizes: Mapping[str, tuple[int, float, bool]], setting_names: list[str]
) -> None:
    """E5111 where the settings ask for other ranks and alphas than a file has."""
    for path, (rank, alpha, is_convolution) in layer_sizes.items():
        expected_rank, expected_alpha = _resolve_size(settings, path, is_convolution, model)
        is_same = expected_rank == rank and math.isclose(expected_alpha, alpha, rel_tol=1e-2)
        if _is_trained_layer(settings, path, model) and not is_same:
            raise TetradError(
                "E5111",
                _(
                    "the LoRA to continue from has rank {rank} and alpha {alpha} at {layer}, not {requested_rank} and"
                    " {requested_alpha}; leave out {settings} to continue with it, or start a new one"
                ),
                rank=rank,
                alpha=f"{alpha:g}",
                layer=path,
                requested_rank=expected_rank,
                requested_alpha=f"{expected_alpha:g}",
                settings=", ".join(f"method.{name}" for name in setting_names),
            )
    has_convolutions = any(is_convolution for _rank, _alpha, is_convolution in layer_sizes.values())
    if settings.trains_convolutions and not has_convolutions:
        raise TetradError(
            "E5111",
            _(
                "the LoRA to continue from has no convolutions, but method.conv_rank asks for them; leave out"
                " method.conv_rank to continue with it, or start a new one"
            ),
        )


def _create_branches(settings: Lora, model: Model, rng: Generator) -> Iterator[tuple[str, nn.Module, LowRankBranch]]:
    """A new branch, still without effect, for each layer that the settings train."""
    check_settings(settings, model)
    layers = {path: layer for path, layer in named_layers(model) if _is_trained_layer(settings, path, model)}
    for path, layer in layers.items():
        rank, alpha = _resolve_size(settings, path, is_spatial_convolution(layer), model)
        if rank:
            yield path, layer, LowRankBranch.initialize(layer, rank, alpha, rng)


def _is_trained_layer(settings: Lora, path: str, model: Model) -> bool:
    """Whether the layer at a path gets a branch, unless its rank is 0."""
    layers = model.layers
    patterns = [
        layers.attention,
        *([layers.text] if settings.text_encoder else []),
        *([layers.convolutions] if settings.trains_convolutions else []),
    ]
    return any(pattern.fullmatch(path) for pattern in patterns)


def _resolve_size(settings: Lora, path: str, is_convolution: bool, model: Model) -> tuple[int, float]:
    """A layer's rank and its effective alpha: the change is scaled by alpha / rank, with rsLoRA too."""
    layer_blocks = model.layers.blocks(path)
    if is_convolution:
        rank = blocks.lookup(layer_blocks, settings.conv_block_ranks, settings.conv_rank)
        alpha = blocks.lookup(layer_blocks, settings.conv_block_alphas, settings.conv_alpha)
    else:
        rank = blocks.lookup(layer_blocks, settings.block_ranks, settings.rank)
        alpha = blocks.lookup(layer_blocks, settings.block_alphas, settings.alpha)
    alpha = rank if alpha is None else alpha
    return rank, alpha * rank**0.5 if settings.rslora else alpha


class LoraAdapter(Patches):
    """Low-rank branches beside the layers of one model, and changes by other algorithms, which are not trained."""

    def __init__(self, plus_ratio: float = 1.0, max_norm: float = 0.0) -> None:
        super().__init__()
        self.plus_ratio = plus_ratio
        self.max_norm = max_norm
        self.branches: dict[str, LowRankBranch] = {}
        self.frozen_tensors: dict[str, dict[str, Tensor]] = {}
        self.frozen_paths: set[str] = set()

    def add_branch(
        self,
        path: str,
        layer: nn.Module,
        branch: LowRankBranch,
        strength: float = 1.0,
        dropout: LoraDropout = NO_DROPOUT,
    ) -> None:
        self.branches[path] = branch
        if strength:
            self.around(layer, with_branch(layer, branch, strength, dropout))

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

    def after_update(self) -> None:
        if self.max_norm:
            for branch in self.branches.values():
                branch.limit_norm(self.max_norm)

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
