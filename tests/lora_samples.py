"""LoRA files of every kind with random tensors, for a model that is small enough for a test."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import tiny
import torch
from torch import Tensor

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.formats import weight_files
from tetrad.methods.lora import lycoris
from tetrad.methods.lora.layer import weight_of
from tetrad.methods.lora.weights import group_by_layer, named_layers
from tetrad.models.base import Model
from tetrad.weights import Weights

ATTENTION = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
LINEAR = "unet.down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2"
CONVOLUTION = "unet.down_blocks.0.resnets.0.conv1"
TEXT = "text_encoder.encoder.layers.0.mlp.fc1"
NORM = "unet.down_blocks.0.resnets.0.norm1"
RANK, ALPHA = 4, 3.0


@cache
def build_model() -> Model:
    return tiny.build_model(is_shallow=True)


@cache
def find_layers() -> Mapping[str, torch.nn.Module]:
    return dict(named_layers(build_model()))


def randn(seed: int, name: str, *shape: int) -> Tensor:
    return 0.3 * torch.randn(shape, generator=generator(seed, 0, name))


def plain(seed: int, path: str, rank: int = RANK, alpha: float = ALPHA) -> dict[str, Tensor]:
    weight = weight_of(find_layers()[path])
    ones = [1] * (weight.ndim - 2)
    down, up = randn(seed, path + "down", rank, *weight.shape[1:]), randn(seed, path + "up", len(weight), rank, *ones)
    return {"down": down, "up": up, "alpha": torch.tensor(alpha)}


def tucker(seed: int, path: str) -> dict[str, Tensor]:
    out, ins, *kernel = weight_of(find_layers()[path]).shape
    tensors = {"down": randn(seed, "d", RANK, ins, 1, 1), "up": randn(seed, "u", out, RANK, 1, 1)}
    return tensors | {"mid": randn(seed, "m", RANK, RANK, *kernel), "alpha": torch.tensor(ALPHA)}


def hadamard(seed: int, path: str) -> dict[str, Tensor]:
    out, ins = weight_of(find_layers()[path]).flatten(1).shape
    sides = {"w1_a": (out, 2), "w1_b": (2, ins), "w2_a": (out, 2), "w2_b": (2, ins)}
    return {f"hada_{name}": randn(seed, name, *shape) for name, shape in sides.items()} | {"alpha": torch.tensor(1.5)}


def kronecker(seed: int, path: str) -> dict[str, Tensor]:
    out, ins = weight_of(find_layers()[path]).flatten(1).shape
    tensors = {"lokr_w1": randn(seed, "1", 4, 4), "lokr_w2_a": randn(seed, "a", out // 4, 2)}
    return tensors | {"lokr_w2_b": randn(seed, "b", 2, ins // 4), "alpha": torch.tensor(1.0)}


def full(seed: int, path: str) -> dict[str, Tensor]:
    layer = find_layers()[path]
    return {"diff": randn(seed, "diff", *weight_of(layer).shape), "diff_b": randn(seed, "bias", len(weight_of(layer)))}


def norm(seed: int, path: str) -> dict[str, Tensor]:
    shape = weight_of(find_layers()[path]).shape
    return {"w_norm": randn(seed, "w", *shape), "b_norm": randn(seed, "b", *shape)}


def dora(seed: int, path: str) -> dict[str, Tensor]:
    out = len(weight := weight_of(find_layers()[path]))
    magnitude = 1 + randn(seed, "magnitude", out, *[1] * (weight.ndim - 1)).abs()
    return plain(seed, path) | {"magnitude": magnitude}


def oft(seed: int, path: str) -> dict[str, Tensor]:
    out = len(weight_of(find_layers()[path]))
    return {"oft_blocks": randn(seed, "oft", 4, out // 4, out // 4), "alpha": torch.tensor(0.0)}


Maker = Callable[[int, str], dict[str, Tensor]]
LOW_RANK: dict[str, list[tuple[str, Maker]]] = {
    "LoRA": [(ATTENTION, plain), (TEXT, plain)],
    "LoCon": [(LINEAR, plain), (CONVOLUTION, plain)],
    "LoCon with Tucker": [(CONVOLUTION, tucker), (ATTENTION, plain)],
    "norms": [(NORM, norm), (ATTENTION, plain)],
}
FULL_RANK: dict[str, list[tuple[str, Maker]]] = {
    "LoHa": [(ATTENTION, hadamard), (CONVOLUTION, hadamard)],
    "LoKr": [(ATTENTION, kronecker)],
    "full": [(LINEAR, full), (TEXT, full)],
}
ON_BASE: dict[str, list[tuple[str, Maker]]] = {
    "DoRA": [(ATTENTION, dora), (CONVOLUTION, dora)],
    "OFT": [(LINEAR, oft)],
}
KINDS = LOW_RANK | FULL_RANK | ON_BASE


def build_weights(kind: str, seed: int = 1) -> Weights:
    layers = {path: make(seed, path) for path, make in KINDS[kind]}
    return Weights(
        "lora", {f"{path}.{name}": each for path, tensors in layers.items() for name, each in tensors.items()}
    )


def save(path: Path, weights: Weights, metadata: Mapping[str, str] | None = None) -> Path:
    model = build_model()
    return library.save_weights(path, weights, model, {**model.metadata, **(metadata or {})}, "lycoris")


def save_kind(path: Path, kind: str, seed: int = 1, dtype: torch.dtype = torch.float32) -> Path:
    weights = build_weights(kind, seed)
    return save(path, Weights("lora", {name: tensor.to(dtype) for name, tensor in weights.tensors.items()}))


def save_base(path: Path, precision: str = "fp32") -> Path:
    model = build_model()
    return tiny.save_checkpoint(path, model, model.weights().metadata, precision)


def changes_of(path: Path) -> dict[str, Tensor]:
    """What a file changes, by the name of the model's tensor, in float64: the definition, not the code under test."""
    changes: dict[str, Tensor] = {}
    for layer_path, tensors in group_by_layer(library.read_weights(path, build_model(), "lora")).items():
        weight = weight_of(find_layers()[layer_path])
        doubles = {name: tensor.double() for name, tensor in tensors.items()}
        for name, target in (("w_norm", "weight"), ("b_norm", "bias"), ("diff_b", "bias")):
            if name in doubles:
                changes[f"{layer_path}.{target}"] = doubles.pop(name)
        if doubles.keys() - {"alpha"}:
            changes[f"{layer_path}.weight"] = lycoris.weight_change(doubles, weight.double())
    return changes


def read_file(path: Path) -> weight_files.WeightFile:
    return weight_files.read_weight_file(path)
