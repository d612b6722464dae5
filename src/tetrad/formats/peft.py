"""LoRA files as diffusers and PEFT write them: `unet.<path>.lora_A.weight`; diffusers' older spellings are read too."""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.weights import Weights

TENSORS = {"down": "lora_A.weight", "up": "lora_B.weight", "magnitude": "lora_magnitude_vector"}
# How the tensors of a layer have been called since 2022, behind the layer's own path.
ENDINGS = {
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora_A.default.weight": "down",
    "lora_B.default.weight": "up",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
    "lora_magnitude_vector.default.weight": "magnitude",
    "lora.down.weight": "down",
    "lora.up.weight": "up",
    "lora_linear_layer.down.weight": "down",
    "lora_linear_layer.up.weight": "up",
    "alpha": "alpha",
}
# The oldest: an attention's LoRA was part of its processor, to_q_lora for the layer to_q.
PROCESSOR = re.compile(r"(.*\.)processor\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight")
TEXT_PROCESSOR = re.compile(r"(.*\.self_attn\.)to_(q|k|v|out)_lora\.(down|up)\.weight")
ABOUT = "lora_adapter_metadata"  # where diffusers keeps PEFT's configuration of each part, as JSON
PLAIN = re.compile(r"[\w.\\^$-]*")  # a name, perhaps anchored, and no expression that could take for ever


def encode(weights: Weights) -> dict[str, Tensor]:
    """A LoRA under PEFT's names, its alphas folded in.

    A reader without PEFT's configuration takes alpha for the rank, and one with it can say several alphas only by
    patterns that readers apply differently. E5133 for what these names have no word for.
    """
    encoded = {}
    for name, tensor in folded(weights).tensors.items():
        layer, _, kind = name.rpartition(".")
        if kind == "alpha":
            continue
        if kind not in TENSORS:
            raise TetradError(
                "E5133", f"diffusers has no name for {name}; only LoRA and DoRA can be written so, others as kohya's"
            )
        encoded[f"{spellings(layer)[0]}.{TENSORS[kind]}"] = weighed(tensor) if kind == "magnitude" else tensor
    return encoded


def folded(weights: Weights) -> Weights:
    """The same change with every alpha the rank: B takes in the factor."""
    tensors = dict(weights.tensors)
    for name, alpha in weights.tensors.items():
        layer, _, kind = name.rpartition(".")
        if kind == "alpha" and f"{layer}.down" in tensors and f"{layer}.up" in tensors:
            rank = len(tensors[f"{layer}.down"])
            tensors[f"{layer}.up"] = tensors[f"{layer}.up"] * (float(alpha) / rank)
            tensors[name] = torch.tensor(float(rank), dtype=alpha.dtype)
    return Weights(weights.kind, tensors, weights.metadata)


def weighed(magnitude: Tensor) -> Tensor:
    """PEFT's shape of a magnitude: (out,), and of a convolution (1, out, 1, 1)."""
    return magnitude.flatten() if magnitude.ndim == 2 else magnitude.transpose(0, 1)


def decode(
    tensors: Mapping[str, Tensor], layers: Collection[str], metadata: Mapping[str, str]
) -> tuple[Weights, list[str]]:
    """A LoRA for the model with these layers (canonical paths), and the keys that no layer answers to.

    Alphas are the file's own or PEFT's configuration's; where neither says, the rank.
    """
    paths = {spelling: layer for layer in layers for spelling in reversed(spellings(layer))}
    found: dict[str, Tensor] = {}
    unmatched = []
    for key, tensor in tensors.items():
        path, kind = parsed(key)
        name = f"{paths.get(path)}.{kind}"
        if path in paths and kind and name not in found:
            found[name] = tensor.reshape(-1, *[1] * max(1, tensor.ndim - 1)) if kind == "magnitude" else tensor
        else:  # no layer answers to it, or another spelling of the same layer did
            unmatched.append(key)
    about = configuration(metadata)
    for name, tensor in list(found.items()):
        layer, _, kind = name.rpartition(".")
        if kind == "down":
            found.setdefault(f"{layer}.alpha", torch.tensor(float(alpha(about, layer, len(tensor)))))
    return Weights("lora", found, dict(metadata)), unmatched


def parsed(key: str) -> tuple[str, str]:
    """A key's layer and tensor: ("unet.….to_q", "down"); the tensor is "" where the key is no LoRA's."""
    key = key.removeprefix("base_model.model.")
    if old := PROCESSOR.fullmatch(key):
        return f"{old[1]}{old[2]}".replace("to_out", "to_out.0"), old[3]
    if old := TEXT_PROCESSOR.fullmatch(key):
        return f"{old[1]}{old[2]}_proj", old[3]
    for ending, kind in ENDINGS.items():
        if key.endswith("." + ending):
            return key.removesuffix("." + ending), kind
    return key, ""


def spellings(layer: str) -> list[str]:
    """Every way a layer is written by diffusers, ours first: transformers once had its encoder in a `text_model`.

    The U-Net's part is left out by PEFT itself and by the oldest files, the text encoder's by PEFT.
    """
    part, _, path = layer.partition(".")
    bare = path.removeprefix("text_model.")
    if part.startswith("text_encoder"):
        return [f"{part}.text_model.{bare}", f"{part}.{bare}", *([f"text_model.{bare}"] * (part == "text_encoder"))]
    return [layer, path]


def configuration(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What PEFT was told, by "part.setting".  E5134 where it cannot be read."""
    try:
        found = json.loads(metadata.get(ABOUT, "{}"))
    except ValueError as error:
        raise TetradError("E5134", f"{ABOUT} in the file's metadata is no JSON ({error})") from error
    return found if isinstance(found, dict) else {}


def alpha(about: Mapping[str, Any], layer: str, rank: int) -> float:
    """A layer's alpha as kohya counts it, so that the change counts alpha / rank.  E5134 for an odd pattern."""
    part, _, path = layer.partition(".")
    value = about.get(f"{part}.lora_alpha", rank)
    for pattern, own in (about.get(f"{part}.alpha_pattern") or {}).items():
        if not PLAIN.fullmatch(pattern):
            raise TetradError(
                "E5134", f"{ABOUT} in the file's metadata has a pattern that is no name: {pattern[:60]!r}"
            )
        if re.match(rf"(.*\.)?({pattern})$", path):
            value = own
            break
    if not isinstance(value, int | float) or value <= 0:
        raise TetradError("E5134", f"{ABOUT} in the file's metadata has an alpha that is no number: {str(value)[:60]}")
    return float(value) * rank**0.5 if about.get(f"{part}.use_rslora") else float(value)
