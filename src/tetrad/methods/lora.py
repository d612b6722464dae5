"""LoRA: y = W x + (α / r) B A x, with A and B small.  [Hu et al. 2021, eq. 3]"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from torch import Generator, Tensor, nn

from tetrad.errors import TetradError
from tetrad.methods import blocks, lycoris
from tetrad.methods.base import Patches, paced
from tetrad.methods.branches import begun, branch_of, by_layer, fitting, is_wide, layers, sizes, usual
from tetrad.methods.lowrank import NOTHING, LeftOut, LowRank, beside
from tetrad.models.base import Model
from tetrad.weights import Weights

# By path, not by class name: libraries rename classes, and a LoRA then silently loses layers.
TRANSFORMER = re.compile(
    r"unet\..*attentions\.\d+\.(proj_in|proj_out|.*\.(to_q|to_k|to_v|to_out\.0)|.*\.ff\.net\.(0\.proj|2))$"
)
TEXT = re.compile(r"text_encoder(_2)?\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)$")
CONVOLUTIONS = re.compile(r"unet\..*(resnets\.\d+\.(conv1|conv2|conv_shortcut|time_emb_proj)|samplers\.0\.conv)$")
LARGEST_RANK = 1024
SIZES = (  # the settings that decide how large the branches are
    *("rank", "alpha", "rslora", "block_ranks", "block_alphas"),
    *("conv_rank", "conv_alpha", "conv_block_ranks", "conv_block_alphas"),
)


def setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


def by_block(help: str) -> Any:
    return field(default_factory=dict, metadata={"help": help})


@dataclass(frozen=True)
class Lora:
    """Settings of a LoRA; the names in brackets are kohya's."""

    kind: ClassVar[str] = "lora"
    writes: ClassVar[str] = "lora"
    rank: int = setting(16, "size of the low-rank change (network_dim)")
    alpha: float | None = setting(None, "the change counts alpha / rank; not given: the rank (network_alpha)")
    rslora: bool = setting(False, "the change counts alpha / √rank; the file says the same in everybody's terms")
    block_ranks: dict[str, int] = by_block(
        "rank where it differs, by block: unet, down, mid, up, down_1, down_1_0, text_encoder and so on; "
        "0 leaves a block alone (block_dims)"
    )
    block_alphas: dict[str, float] = by_block("alpha where it differs, by block (block_alphas)")
    conv_rank: int = setting(0, "rank on the 3×3 convolutions too; 0 leaves them alone (conv_dim)")
    conv_alpha: float | None = setting(None, "alpha on the convolutions; not given: conv_rank (conv_alpha)")
    conv_block_ranks: dict[str, int] = by_block("conv_rank where it differs, by block (conv_block_dims)")
    conv_block_alphas: dict[str, float] = by_block("conv_alpha where it differs, by block (conv_block_alphas)")
    text_encoder: bool = setting(True, "let the text encoders learn too; false is network_train_unet_only")
    dora: bool = setting(
        False,
        "learn how long each row of a layer is apart from where it points: closer to full training, slower (dora_wd)",
    )
    plus_ratio: float = setting(
        1.0, "LoRA+: how many times faster B learns than A; 16 is what its authors suggest (loraplus_lr_ratio)"
    )
    dropout: float = setting(0.0, "share of rank outputs left out in each step (network_dropout)")
    rank_dropout: float = setting(0.0, "share of whole ranks left out in each step (rank_dropout)")
    module_dropout: float = setting(0.0, "share of layers that a step trains without (module_dropout)")
    max_norm: float = setting(
        0.0, "no layer's change may grow longer than this; 1 is usual, 0 is no limit (scale_weight_norms)"
    )

    def __post_init__(self) -> None:
        check_rank("rank", self.rank, 1, "8 to 32 suits most subjects")
        check_rank("conv_rank", self.conv_rank, 0, "0 leaves convolutions alone")
        for key in ("alpha", "conv_alpha"):
            check_alpha(key, getattr(self, key))
        for key in ("block_ranks", "conv_block_ranks"):
            blocks.check_spelled(key, getattr(self, key))
            for name, rank in getattr(self, key).items():
                check_rank(f"{key}.{name}", rank, 0, "0 leaves the block alone")
        for key in ("block_alphas", "conv_block_alphas"):
            blocks.check_spelled(key, getattr(self, key))
            for name, alpha in getattr(self, key).items():
                check_alpha(f"{key}.{name}", alpha)
        for key in ("dropout", "rank_dropout", "module_dropout"):
            share = getattr(self, key)
            check(key, share, 0 <= share < 1, "at least 0 and under 1", "0.1 is usual")
        check("plus_ratio", self.plus_ratio, 1 <= self.plus_ratio <= 1000, "from 1 to 1000", "16 is usual")
        check("max_norm", self.max_norm, self.max_norm >= 0, "0 or more", "1 is usual")

    def decided(self, word: str, images: int) -> Self:
        return self

    def going_on(self, start: Weights) -> Self:
        """With the file's ranks and alphas, the most common where they differ.  E5111 where others were asked for."""
        found, nothing = sizes(start), {name: getattr(type(self)(), name) for name in SIZES}
        theirs, convolutions = usual(found, wide=False), usual(found, wide=True)
        taken = nothing | dict(zip(("rank", "alpha"), theirs or (), strict=False))
        taken |= dict(zip(("conv_rank", "conv_alpha"), convolutions or (), strict=False))
        asked = {name: getattr(self, name) for name in SIZES}
        if asked not in (nothing, taken):
            self.check_same(found, [name for name in SIZES if asked[name] != nothing[name]])
        weighed = sum(name.endswith(".magnitude") for name in start.tensors)
        return replace(self, **taken, dora=self.dora or 0 < len(found) == weighed)

    def check_same(self, found: Mapping[str, tuple[int, float, bool]], asked: list[str]) -> None:
        """E5111 where the settings asked for want other ranks and alphas than a file has."""
        for path, (rank, alpha, wide) in found.items():
            wanted = self.size(path, wide)
            if self.changes(path) and not (wanted[0] == rank and math.isclose(wanted[1], alpha, rel_tol=1e-2)):
                raise TetradError(
                    "E5111",
                    f"the LoRA to go on from has rank {rank} and alpha {alpha:g} at {path}, not {wanted[0]} and "
                    f"{wanted[1]:g}; leave method.{' and method.'.join(asked)} out to go on with it, or begin anew",
                )
        if self.convolves and not any(wide for _, _, wide in found.values()):
            raise TetradError(
                "E5111", "the LoRA to go on from has no convolutions, and a rank for them is asked for; leave that out"
            )

    def told(self) -> str:
        alpha = self.rank if self.alpha is None else self.alpha
        return f"rank {self.rank}, alpha {alpha:g}" + (", DoRA" if self.dora else "")

    def rates(self) -> dict[str, str]:
        return {"": "1e-4", "text_encoder": "5e-5", "text_encoder_2": "5e-5"}

    def steps(self, images: int) -> int:
        return min(3000, max(400, 100 * images))

    def whole(self) -> tuple[str, ...]:
        return ()

    def attach(self, model: Model, rng: Generator, start: Weights | None = None) -> "LoraAdapter":
        """Fresh branches where the settings want them, or exactly those of `start`, with its ranks and alphas.

        Raises E3121 for a block the model does not have, E5103 where nothing can learn, E5130 where `start` is none
        of ours to go on from.
        """
        adapter = LoraAdapter(self.plus_ratio, self.max_norm)
        for path, layer, branch in self.fresh(model, rng) if start is None else begun(model, start):
            if self.dora and branch.magnitude is None:
                branch.weigh(layer)
            adapter.add(path, layer, branch, left_out=LeftOut(self.dropout, self.rank_dropout, self.module_dropout))
            if not self.text_encoder and not path.startswith("unet."):
                adapter.rest(path)
        if not adapter.groups():
            raise TetradError("E5103", f"{model.name} has no layer that this LoRA could change")
        return adapter

    def fresh(self, model: Model, rng: Generator) -> Iterator[tuple[str, nn.Module, LowRank]]:
        """A branch that changes nothing yet for each layer that the settings want one for."""
        wanted = {path: layer for path, layer in layers(model) if self.changes(path)}
        for key in ("block_ranks", "block_alphas", "conv_block_ranks", "conv_block_alphas"):
            blocks.check_there(key, getattr(self, key), wanted, model.name)
        for path, layer in wanted.items():
            rank, alpha = self.size(path, is_wide(layer))
            if rank:
                yield path, layer, LowRank.fresh(layer, rank, alpha, rng)

    def changes(self, path: str) -> bool:
        """Whether the layer at a path gets a low-rank change, where its block's rank is not 0."""
        wanted = [TRANSFORMER, *([TEXT] if self.text_encoder else []), *([CONVOLUTIONS] if self.convolves else [])]
        return any(pattern.fullmatch(path) for pattern in wanted)

    @property
    def convolves(self) -> bool:
        """Whether convolutions learn too."""
        return bool(self.conv_rank or any(self.conv_block_ranks.values()))

    def size(self, path: str, wide: bool) -> tuple[int, float]:
        """A layer's rank, and its alpha as every reader takes it: the change counts alpha / rank."""
        if wide:
            rank = blocks.valued(path, self.conv_block_ranks, self.conv_rank)
            alpha = blocks.valued(path, self.conv_block_alphas, self.conv_alpha)
        else:
            rank = blocks.valued(path, self.block_ranks, self.rank)
            alpha = blocks.valued(path, self.block_alphas, self.alpha)
        alpha = rank if alpha is None else alpha
        return rank, alpha * rank**0.5 if self.rslora else alpha

    @classmethod
    def load(cls, model: Model, weights: Weights, strength: float | Mapping[str, float] = 1.0) -> "LoraAdapter":
        """A LoRA, or what LyCORIS knows beside it, from its weights; strengths may be given by part.

        Raises E5102 where it does not fit the model's layers.
        """
        adapter, known = LoraAdapter(), dict(layers(model))
        for path, tensors in by_layer(weights).items():
            here = strength if isinstance(strength, float | int) else strength.get(path.partition(".")[0], 1.0)
            layer = fitting(known, path, tensors, model)
            if (branch := branch_of(layer, tensors)) is not None:
                adapter.add(path, layer, branch, here)
            else:
                adapter.fix(path, layer, tensors, here)
        return adapter


class LoraAdapter(Patches):
    """Low-rank branches beside the layers of one model, and changes made by others that only take part."""

    def __init__(self, plus_ratio: float = 1.0, max_norm: float = 0.0) -> None:
        super().__init__()
        self.plus_ratio = plus_ratio
        self.max_norm = max_norm
        self.branches: dict[str, LowRank] = {}
        self.fixed: dict[str, dict[str, Tensor]] = {}
        self.resting: set[str] = set()

    def add(
        self, path: str, layer: nn.Module, branch: LowRank, strength: float = 1.0, left_out: LeftOut = NOTHING
    ) -> None:
        self.branches[path] = branch
        if strength:
            self.around(layer, beside(layer, branch, strength, left_out))

    def fix(self, path: str, layer: nn.Module, tensors: dict[str, Tensor], strength: float) -> None:
        self.fixed[path] = tensors
        if strength:
            self.around(layer, lycoris.changed(layer, tensors, strength))

    def rest(self, path: str) -> None:
        """Let a branch take part and be kept, but learn nothing."""
        self.branches[path].requires_grad_(False)
        self.resting.add(path)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        groups: dict[str, list[nn.Parameter]] = {}
        for path, branch in self.branches.items():
            if path in self.resting:
                continue
            part = path.partition(".")[0]
            for name, parameter in branch.named_parameters():
                pace = self.plus_ratio if name == "up" else 1.0
                groups.setdefault(paced(part, pace), []).append(parameter)
        return groups

    def after_update(self) -> None:
        if self.max_norm:
            for branch in self.branches.values():
                branch.shrink(self.max_norm)

    def weights(self) -> Weights:
        tensors = {f"{path}.{name}": tensor for path, found in self.fixed.items() for name, tensor in found.items()}
        for path, branch in self.branches.items():
            for name, parameter in branch.named_parameters():
                tensors[f"{path}.{name}"] = parameter.detach().clone()
            tensors[f"{path}.alpha"] = torch.tensor(float(branch.alpha))
        return Weights("lora", tensors)


def check(key: str, value: object, good: bool, what: str, usual: str) -> None:
    if not good:
        raise TetradError("E3103", f"method.{key} must be {what}, not {value}; {usual}")


def check_rank(key: str, rank: int, least: int, usual: str) -> None:
    check(key, rank, least <= rank <= LARGEST_RANK, f"from {least} to {LARGEST_RANK}", usual)


def check_alpha(key: str, alpha: float | None) -> None:
    good = alpha is None or 0 < alpha <= LARGEST_RANK
    check(key, alpha, good, f"above 0, at most {LARGEST_RANK}", "the rank or half of it is usual")
