"""LoRA: y = W x + (α / r) B A x, with A and B small.  [Hu et al. 2021, eq. 3]"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from tetrad.errors import TetradError
from tetrad.methods.base import Patches
from tetrad.models.base import Model
from tetrad.weights import Weights

# By path, not by class name: libraries rename classes, and a LoRA then silently loses layers.
TRANSFORMER = re.compile(
    r"unet\..*attentions\.\d+\.(proj_in|proj_out|.*\.(to_q|to_k|to_v|to_out\.0)|.*\.ff\.net\.(0\.proj|2))$"
)
TEXT = re.compile(r"text_encoder\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)$")
CONVOLUTIONS = re.compile(r"unet\..*(resnets\.\d+\.(conv1|conv2|conv_shortcut|time_emb_proj)|samplers\.0\.conv)$")


@dataclass(frozen=True)
class Lora:
    """Settings of a LoRA; the names in brackets are kohya's."""

    kind: ClassVar[str] = "lora"
    writes: ClassVar[str] = "lora"
    rank: int = field(default=16, metadata={"help": "size of the low-rank change (network_dim)"})
    alpha: float | None = field(
        default=None, metadata={"help": "the change counts alpha / rank; not given: the rank (network_alpha)"}
    )
    dropout: float = field(
        default=0.0, metadata={"help": "share of rank outputs left out in each step (network_dropout)"}
    )
    conv_rank: int = field(
        default=0, metadata={"help": "rank on the 3×3 convolutions too; 0 leaves them alone (conv_dim)"}
    )
    conv_alpha: float | None = field(
        default=None, metadata={"help": "alpha on the convolutions; not given: conv_rank (conv_alpha)"}
    )
    text_encoder: bool = field(
        default=True, metadata={"help": "let the text encoder learn too; false is network_train_unet_only"}
    )

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= 1024:
            raise TetradError(
                "E3103", f"method.rank must be from 1 to 1024, not {self.rank}; 8 to 32 suits most subjects"
            )
        if not 0 <= self.conv_rank <= 1024:
            raise TetradError(
                "E3103", f"method.conv_rank must be from 0 to 1024, not {self.conv_rank}; 0 leaves convolutions alone"
            )
        for key, alpha in (("alpha", self.alpha), ("conv_alpha", self.conv_alpha)):
            if alpha is not None and not 0 < alpha <= 1024:
                raise TetradError(
                    "E3103", f"method.{key} must be above 0, at most 1024, not {alpha}; the rank or half of it is usual"
                )
        if not 0 <= self.dropout < 1:
            raise TetradError(
                "E3103", f"method.dropout must be at least 0 and under 1, not {self.dropout}; 0.1 is usual"
            )

    def decided(self, word: str, images: int) -> Self:
        return self

    def rates(self) -> dict[str, str]:
        return {"": "1e-4", "text_encoder": "5e-5", "text_encoder_2": "5e-5"}

    def steps(self, images: int) -> int:
        return min(3000, max(400, 100 * images))

    def attach(self, model: Model, rng: Generator, start: Weights | None = None) -> "LoraAdapter":
        adapter = LoraAdapter()
        for path, layer in layers(model):
            if self.changes(path):
                rank, alpha = (self.conv_rank, self.conv_alpha) if is_wide(layer) else (self.rank, self.alpha)
                branch = LowRank.fresh(layer, rank, rank if alpha is None else alpha, rng)
                adapter.add(path, layer, branch, self.dropout)
        if not adapter.branches:
            raise TetradError("E5103", f"{model.name} has no layer that a LoRA could change")
        return adapter

    def changes(self, path: str) -> bool:
        """Whether the layer at a path gets a low-rank change."""
        wanted = [TRANSFORMER, *([TEXT] if self.text_encoder else []), *([CONVOLUTIONS] if self.conv_rank else [])]
        return any(pattern.fullmatch(path) for pattern in wanted)

    @classmethod
    def load(cls, model: Model, weights: Weights, strength: float = 1.0) -> "LoraAdapter":
        """A LoRA from its weights; raises E5102 where it does not fit the model's layers."""
        adapter = LoraAdapter()
        known = dict(layers(model))
        for path in sorted({name.rpartition(".")[0] for name in weights.tensors}):
            down, up, alpha = (weights.tensors.get(f"{path}.{kind}") for kind in ("down", "up", "alpha"))
            layer = known.get(path)
            if layer is None or down is None or up is None or alpha is None or not fits(layer, down, up, alpha):
                raise TetradError(
                    "E5102",
                    f"this LoRA does not fit {model.name} ({model.title}) at {path}; it was made for another model",
                )
            adapter.add(path, layer, LowRank(matching(layer, down), matching(layer, up), float(alpha)), 0.0, strength)
        return adapter


def layers(model: Model) -> Iterator[tuple[str, nn.Module]]:
    """Every layer that a low-rank change can stand beside, by canonical path."""
    for part, network in model.parts().items():
        for path, module in network.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                yield f"{part}.{path}", module


def is_wide(layer: nn.Module) -> bool:
    """Whether a layer is a convolution that sees its neighbours."""
    return isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)


def matching(layer: nn.Module, tensor: Tensor) -> Tensor:
    """The tensor in the layer's own form: a matrix and a 1×1 convolution are the same numbers."""
    if isinstance(layer, nn.Conv2d):
        return tensor if tensor.ndim == 4 else tensor[:, :, None, None]
    return tensor[:, :, 0, 0] if tensor.ndim == 4 and tensor.shape[2:] == (1, 1) else tensor


def fits(layer: nn.Module, down: Tensor, up: Tensor, alpha: Tensor) -> bool:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    kernel = tuple(weight.shape[2:])
    down, up = matching(layer, down), matching(layer, up)
    shaped = down.shape == (len(down), weight.shape[1], *kernel) and up.shape[:2] == (weight.shape[0], len(down))
    return shaped and alpha.numel() == 1


class LowRank(nn.Module):
    """(α / r) B A, with A (r, in, …) and B (out, r, …); of a convolution, A has its kernel and B is 1×1."""

    def __init__(self, down: Tensor, up: Tensor, alpha: float) -> None:
        super().__init__()
        self.down = nn.Parameter(down.float().clone())
        self.up = nn.Parameter(up.float().clone())
        self.alpha = alpha
        self.scale = alpha / len(down)

    @classmethod
    def fresh(cls, layer: nn.Module, rank: int, alpha: float, rng: Generator) -> "LowRank":
        """A random, B zero: the sum is zero, and B has a gradient at once."""
        weight = layer.weight
        assert isinstance(weight, Tensor)
        down = torch.empty(rank, *weight.shape[1:])
        nn.init.kaiming_uniform_(down, a=5**0.5, generator=rng)
        ones = [1] * (weight.ndim - 2)
        return cls(down.to(weight.device), torch.zeros(weight.shape[0], rank, *ones, device=weight.device), alpha)


class LoraAdapter(Patches):
    """Low-rank branches beside the layers of one model."""

    def __init__(self) -> None:
        super().__init__()
        self.branches: dict[str, LowRank] = {}

    def add(self, path: str, layer: nn.Module, branch: LowRank, dropout: float, strength: float = 1.0) -> None:
        self.branches[path] = branch
        change = beside_convolution if isinstance(layer, nn.Conv2d) else beside_matrix
        self.around(layer, change(layer, branch, branch.scale * strength, dropout))

    def groups(self) -> dict[str, list[nn.Parameter]]:
        groups: dict[str, list[nn.Parameter]] = {}
        for path, branch in self.branches.items():
            groups.setdefault(path.split(".")[0], []).extend((branch.down, branch.up))
        return groups

    def weights(self) -> Weights:
        tensors = {}
        for path, branch in self.branches.items():
            tensors[f"{path}.down"] = branch.down.detach().clone()
            tensors[f"{path}.up"] = branch.up.detach().clone()
            tensors[f"{path}.alpha"] = torch.tensor(float(branch.alpha))
        return Weights("lora", tensors)


Beside = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]


def beside_matrix(layer: nn.Module, branch: LowRank, scale: float, dropout: float) -> Beside:
    def change(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        # The scale goes on the r numbers in the middle, the smallest tensor there is.
        inner = F.linear(x, branch.down.to(x.dtype)) * scale
        inner = F.dropout(inner, dropout) if dropout and torch.is_grad_enabled() else inner
        return call(x) + F.linear(inner, branch.up.to(x.dtype))

    return change


def beside_convolution(layer: nn.Module, branch: LowRank, scale: float, dropout: float) -> Beside:
    assert isinstance(layer, nn.Conv2d)
    stride, padding = layer.stride, layer.padding

    def change(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        inner = F.conv2d(x, branch.down.to(x.dtype), stride=stride, padding=padding) * scale
        inner = F.dropout(inner, dropout) if dropout and torch.is_grad_enabled() else inner
        return call(x) + F.conv2d(inner, branch.up.to(x.dtype))

    return change
