"""LoRA files of diffusers and PEFT: names like `unet.<path>.lora_A.weight`, and the older ones of diffusers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

_TENSOR_SUFFIXES = {"down": "lora_A.weight", "up": "lora_B.weight"}
_ATTENTION_LAYER = re.compile(r"(unet\..*\.)(to_q|to_k|to_v|to_out)(?:\.0)?")
# All names of a layer's tensors since 2022, after the layer's path.
TENSOR_NAMES_BY_SUFFIX = {
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
# The oldest format: a LoRA was part of the attention processor, to_q_lora for the layer to_q.
PROCESSOR_KEY = re.compile(r"(.*\.)processor\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight")
TEXT_PROCESSOR_KEY = re.compile(r"(.*\.self_attn\.)to_(q|k|v|out)_lora\.(down|up)\.weight")
CONFIG_METADATA_KEY = "lora_adapter_metadata"  # diffusers stores PEFT's configuration of each part here, as JSON
ADAPTER_FILES = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")  # in a folder of PEFT or diffusers
CONFIG_FILE = "adapter_config.json"  # PEFT's configuration, beside the first of them
_SAFE_PATTERN = re.compile(r"[\w.\\^$-]*")  # a name with or without anchors; no expression that could run for ever


def encode(weights: Weights) -> dict[str, Tensor]:
    """A LoRA under diffusers' names, with alphas folded into the weights.

    The U-Net gets the names of 2023, which diffusers still reads: ComfyUI reads the current ones only where a layer is
    not part of attention. Without PEFT's configuration readers assume that alpha is the rank; with it, several alphas
    need patterns, which readers apply differently. E5133 for tensors that have no name in this format.
    """
    tensors = {}
    for name, tensor in fold_alpha(weights).tensors.items():
        layer, _dot, tensor_name = name.rpartition(".")
        if tensor_name == "alpha":
            continue
        if tensor_name not in _TENSOR_SUFFIXES:
            raise TetradError(
                "E5133",
                _("diffusers' format stores only plain LoRA, not {tensor}; save this file in kohya's format"),
                tensor=name,
            )
        tensors[_name_tensor(layer, tensor_name)] = tensor
    return tensors


def _name_tensor(layer: str, tensor_name: str) -> str:
    """The key of a tensor, "down" or "up": `unet.….attn1.processor.to_q_lora.up.weight`."""
    if match := _ATTENTION_LAYER.fullmatch(layer):
        return f"{match[1]}processor.{match[2]}_lora.{tensor_name}.weight"
    if layer.startswith("unet."):
        return f"{layer}.lora.{tensor_name}.weight"
    return f"{list_layer_names(layer)[0]}.{_TENSOR_SUFFIXES[tensor_name]}"


def fold_alpha(weights: Weights) -> Weights:
    """The same change with alpha = rank everywhere: B is multiplied by alpha / rank."""
    import torch

    tensors = dict(weights.tensors)
    for name, alpha in weights.tensors.items():
        layer, _dot, tensor_name = name.rpartition(".")
        if tensor_name == "alpha" and f"{layer}.down" in tensors and f"{layer}.up" in tensors:
            rank = len(tensors[f"{layer}.down"])
            tensors[f"{layer}.up"] = tensors[f"{layer}.up"] * (float(alpha) / rank)
            tensors[name] = torch.tensor(float(rank), dtype=alpha.dtype)
    return Weights(weights.kind, tensors, weights.metadata)


def decode(
    tensors: Mapping[str, Tensor], layers: Collection[str], metadata: Mapping[str, str]
) -> tuple[Weights, list[str]]:
    """The LoRA in a file for a model with these layers (canonical paths), and the keys that match no layer.

    Alphas come from the file's tensors, else from PEFT's configuration; else alpha is the rank.
    """
    import torch

    layers_by_name = {layer_name: layer for layer in layers for layer_name in reversed(list_layer_names(layer))}
    lora_tensors: dict[str, Tensor] = {}
    unmatched_keys = []
    for key, tensor in tensors.items():
        path, tensor_name = _parse_key(key)
        name = f"{layers_by_name.get(path)}.{tensor_name}"
        if path in layers_by_name and tensor_name and name not in lora_tensors:
            lora_tensors[name] = (
                tensor.reshape(-1, *[1] * max(1, tensor.ndim - 1)) if tensor_name == "magnitude" else tensor
            )
        else:  # no layer has this name, or the layer was already found under another of its names
            unmatched_keys.append(key)
    config = _read_adapter_config(metadata)
    for name, tensor in list(lora_tensors.items()):
        layer, _dot, tensor_name = name.rpartition(".")
        if tensor_name == "down":
            lora_tensors.setdefault(f"{layer}.alpha", torch.tensor(float(_read_alpha(config, layer, len(tensor)))))
    return Weights("lora", lora_tensors, dict(metadata)), unmatched_keys


def _parse_key(key: str) -> tuple[str, str]:
    """A key's layer and tensor name: ("unet.….to_q", "down"); the tensor name is "" if it is not a LoRA's key."""
    key = key.removeprefix("base_model.model.")
    if match := PROCESSOR_KEY.fullmatch(key):
        return f"{match[1]}{match[2]}".replace("to_out", "to_out.0"), match[3]
    if match := TEXT_PROCESSOR_KEY.fullmatch(key):
        return f"{match[1]}{match[2]}_proj", match[3]
    for suffix, tensor_name in TENSOR_NAMES_BY_SUFFIX.items():
        if key.endswith("." + suffix):
            return key.removesuffix("." + suffix), tensor_name
    return key, ""


def list_layer_names(layer: str) -> list[str]:
    """Every name that diffusers or PEFT gives a layer, the one we write first.

    Older releases of transformers have the encoder inside `text_model`. PEFT leaves out the part's name, and so do the
    oldest diffusers files for the U-Net.
    """
    part, _dot, path = layer.partition(".")
    bare_path = path.removeprefix("text_model.")
    if part.startswith("text_encoder"):
        return [
            f"{part}.text_model.{bare_path}",
            f"{part}.{bare_path}",
            *([f"text_model.{bare_path}"] * (part == "text_encoder")),
        ]
    return [layer, path]


def _read_adapter_config(metadata: Mapping[str, str]) -> dict[str, Any]:
    """PEFT's configuration by "part.setting", or "setting" where it is of one part.  E5134 if it cannot be parsed."""
    try:
        config = parse_json(metadata.get(CONFIG_METADATA_KEY, "{}"))
    except ValueError as error:
        raise TetradError(
            "E5134",
            _("the metadata entry {key} of this LoRA is not valid JSON ({error}); save the LoRA again"),
            key=CONFIG_METADATA_KEY,
            error=error,
        ) from error
    return config if isinstance(config, dict) else {}


def _read_alpha(config: Mapping[str, Any], layer: str, rank: int) -> float:
    """A layer's alpha as kohya defines it: the change is scaled by alpha / rank.

    E5134 for an alpha that is not a positive number, or a pattern that is more than a layer name.
    """
    part, _dot, path = layer.partition(".")
    own = {**config, **{key.removeprefix(f"{part}."): value for key, value in config.items()}}
    value = own.get("lora_alpha", rank)
    for pattern, pattern_alpha in (own.get("alpha_pattern") or {}).items():
        if not _SAFE_PATTERN.fullmatch(pattern):
            raise TetradError(
                "E5134",
                _(
                    "the metadata entry {key} of this LoRA has the alpha pattern '{pattern}', which is not a layer"
                    " name; save the LoRA again"
                ),
                key=CONFIG_METADATA_KEY,
                pattern=pattern[:60],
            )
        if re.match(rf"(.*\.)?({pattern})$", path):
            value = pattern_alpha
            break
    if not isinstance(value, int | float) or value <= 0:
        raise TetradError(
            "E5134",
            _(
                "the metadata entry {key} of this LoRA has the alpha {value}, which is not a positive number; save the"
                " LoRA again"
            ),
            key=CONFIG_METADATA_KEY,
            value=str(value)[:60],
        )
    return float(value) * rank**0.5 if own.get("use_rslora") else float(value)
