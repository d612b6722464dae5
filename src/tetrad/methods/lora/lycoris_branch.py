"""The trained tensors of one layer for LyCORIS' algorithms: LoHa, LoKr, OFT, and LoRA with a core or by columns."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tetrad.methods.base import ForwardChange
from tetrad.methods.lora import lycoris, oft
from tetrad.methods.lora.layer import NO_DROPOUT, LoraDropout, weight_of

_NOT_TRAINED = {"diff", "diff_b", "w_norm", "b_norm"}  # differences themselves have no rank
_SCALED = ({"hada_w1_a"}, {"up"})  # what a limit of the norm scales down; of a LoKr all tensors, as in LyCORIS


class LycorisBranch(nn.Module):
    """The tensors of a layer by their names in `lycoris`; the change of its weight is computed from them."""

    magnitude: nn.Parameter | None

    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        super().__init__()
        self.alpha = float(tensors["alpha"]) if "alpha" in tensors else _default_alpha(tensors)
        self.register_parameter("magnitude", None)
        for name, tensor in tensors.items():
            if name != "alpha":
                self.register_parameter(name, nn.Parameter(tensor.to(device, torch.float32, copy=True)))

    def tensors(self) -> dict[str, Tensor]:
        """The live parameters, and alpha."""
        return {**dict(self.named_parameters()), "alpha": torch.tensor(self.alpha)}

    @property
    def is_rotation(self) -> bool:
        """An OFT keeps the norms of a layer, so it has no magnitudes and no limit of a norm."""
        return oft.is_oft(self.tensors())

    def change(self, layer: nn.Module, strength: float = 1.0, dropout: LoraDropout = NO_DROPOUT) -> ForwardChange:
        """The change of the layer's forward."""
        return lycoris.with_delta(layer, self.tensors(), strength, dropout)

    @torch.no_grad()
    def init_magnitude(self, layer: nn.Module, on_output: bool = True) -> None:
        """Make it a DoRA: set the magnitudes to the current norms, of rows or of columns, so that nothing changes."""
        if self.is_rotation:
            return
        weight = weight_of(layer).float()
        norms = lycoris.weight_norms(weight + lycoris.weight_change(self.tensors(), weight), 0 if on_output else 1)
        self.magnitude = nn.Parameter(norms)

    @torch.no_grad()
    def limit_norm(self, limit: float, layer: nn.Module) -> None:
        """Scale the tensors, so that the norm of ΔW is at most `limit`."""
        if self.is_rotation:
            return
        change = lycoris.delta(self.tensors(), weight_of(layer).shape)
        assert change is not None
        parameters = dict(self.named_parameters())
        parameters.pop("magnitude", None)
        scaled = next((names for names in _SCALED if names <= parameters.keys()), set(parameters))
        factor = limit / change.norm().clamp(min=limit)
        for name in scaled:
            parameters[name].mul_(factor ** (1 / len(scaled)))


def is_trainable(tensors: Mapping[str, Tensor]) -> bool:
    return not tensors.keys() & _NOT_TRAINED


def rank_of(tensors: Mapping[str, Tensor]) -> int:
    """The rank of a layer, or the size of an OFT's blocks; 0 for a LoKr of two full matrices, which has none."""
    if oft.is_oft(tensors):
        return tensors["oft_blocks"].shape[-1]
    factors = ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")
    return next((len(tensors[name]) for name in factors if name in tensors), 0)


def algorithm_of(tensors: Mapping[str, Tensor]) -> str:
    """The value of `method.algorithm` that makes such tensors; "" for others."""
    prefixes = {"down": "lora", "hada_": "loha", "lokr_": "lokr", "oft_": "oft"}
    return next((name for prefix, name in prefixes.items() if any(key.startswith(prefix) for key in tensors)), "")


def _default_alpha(tensors: Mapping[str, Tensor]) -> float:
    """The alpha that stands for none: the rank, which makes the scale 1; for OFT no constraint."""
    return 0.0 if oft.is_oft(tensors) else float(rank_of(tensors) or 1)
