"""kohya's LoRA format: names like `lora_unet_<path with underscores>.lora_down.weight`, and its metadata hashes.

LyCORIS uses the same layer names for its LoCon, LoHa, LoKr and DoRA, with other tensor names after them. ComfyUI's own
trainer writes the same tensor names after the paths of a single file: `diffusion_model.<path>.lora_down.weight`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from tetrad.formats import file_hashes, ldm, weight_files
from tetrad.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

PREFIXES = {"unet": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}
COMFYUI_PREFIXES = {
    "unet": ("diffusion_model.",),
    "text_encoder": ("text_encoders.clip_l.transformer.", "text_encoders.clip_h.transformer."),
    "text_encoder_2": ("text_encoders.clip_g.transformer.",),
}
OFT_PREFIX = "oft_unet_"  # kohya's prefix for the U-Net's layers in an OFT file
LYCORIS_PREFIX = "lycoris_"  # the prefix of every layer where LyCORIS trained a single network
TENSOR_SUFFIXES = {"down": "lora_down.weight", "up": "lora_up.weight", "mid": "lora_mid.weight"}
TENSOR_SUFFIXES |= {"alpha": "alpha", "magnitude": "dora_scale"}
TENSOR_SUFFIXES |= {name: name for name in ("diff", "diff_b", "w_norm", "b_norm", "oft_blocks", "rescale")}
TENSOR_SUFFIXES |= {f"hada_{name}": f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")}
TENSOR_SUFFIXES |= {f"lokr_{name}": f"lokr_{name}" for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t1", "t2")}


def encode(weights: Weights, layers: Collection[str] = ()) -> dict[str, Tensor]:
    """A LoRA under kohya's names, for a model with these layers.

    kohya writes the U-Net's layers by diffusers' module paths for SD1 and SD2, and by the single file's for XL.
    """
    xl_names = _map_xl_names(layers)
    tensors = {}
    for name, tensor in weights.tensors.items():
        layer, _dot, tensor_name = name.rpartition(".")
        tensors[f"{xl_names.get(layer) or to_kohya_name(layer)}.{TENSOR_SUFFIXES[tensor_name]}"] = tensor
    return tensors


def decode(
    tensors: Mapping[str, Tensor], layers: Collection[str], metadata: Mapping[str, str]
) -> tuple[Weights, list[str]]:
    """The LoRA in a kohya file for a model with these layers (canonical paths), and the keys that match no layer.

    Underscores hide where the dots of a path were, so names are looked up in a table made from the layers. A missing
    alpha means the rank, as in every other tool.
    """
    import torch

    layers_by_name = {layer_name: layer for layer in layers for layer_name in list_layer_names(layer)}
    for canonical_path, ldm_path in ldm.map_unet_paths(layers).items():
        for prefix in (PREFIXES["unet"], OFT_PREFIX.removesuffix("_")):
            layers_by_name[_join_with_underscores(prefix, ldm_path)] = canonical_path
        layers_by_name[f"{COMFYUI_PREFIXES['unet'][0]}{ldm_path}"] = canonical_path
    tensor_names = {ending: tensor_name for tensor_name, ending in TENSOR_SUFFIXES.items()} | {
        "lora_A.weight": "down",
        "lora_B.weight": "up",
    }
    lora_tensors: dict[str, Tensor] = {}
    unmatched_keys = []
    for key, tensor in tensors.items():
        suffix = next((suffix for suffix in tensor_names if key.endswith(f".{suffix}")), "")
        module = key.removesuffix(f".{suffix}")
        name = f"{layers_by_name.get(module)}.{tensor_names.get(suffix)}"
        if module in layers_by_name and suffix and name not in lora_tensors:
            lora_tensors[name] = tensor
        else:  # no layer has this name, or the layer was already found under another of its names
            unmatched_keys.append(key)
    for name, tensor in list(lora_tensors.items()):
        if name.endswith(".down"):
            lora_tensors.setdefault(name.removesuffix("down") + "alpha", torch.tensor(float(len(tensor))))
    return Weights("lora", lora_tensors, dict(metadata)), unmatched_keys


def to_kohya_name(layer: str) -> str:
    """`text_encoder.encoder.layers.0.mlp.fc1` → `lora_te_text_model_encoder_layers_0_mlp_fc1`."""
    part, _dot, path = layer.partition(".")
    return _join_with_underscores(PREFIXES[part], f"text_model.{path}" if part == "text_encoder" else path)


def _map_xl_names(layers: Collection[str]) -> dict[str, str]:
    """kohya's names for the layers of a model with two text encoders; empty for other models."""
    if not any(layer.startswith("text_encoder_2.") for layer in layers):
        return {}
    first_encoder_layers = [layer for layer in layers if layer.startswith("text_encoder.")]
    return {
        canonical_path: _join_with_underscores("lora_unet", ldm_path)
        for canonical_path, ldm_path in ldm.map_unet_paths(layers).items()
    } | {layer: to_kohya_name(layer).replace("lora_te_", "lora_te1_", 1) for layer in first_encoder_layers}


def list_layer_names(layer: str) -> list[str]:
    """Every name that some tool gives a layer, ours first."""
    kohya_name = to_kohya_name(layer)
    if not layer.startswith("text_encoder"):
        return [kohya_name.replace("lora_unet_", prefix, 1) for prefix in ("lora_unet_", LYCORIS_PREFIX, OFT_PREFIX)]
    part, _dot, path = layer.partition(".")
    text_encoder_names = [kohya_name, kohya_name.replace("_text_model_", "_", 1)]
    text_encoder_names += [
        f"{prefix}text_model.{path.removeprefix('text_model.')}" for prefix in COMFYUI_PREFIXES[part]
    ]
    first_encoder_names = [name for name in text_encoder_names if name.startswith("lora_te_")]
    return text_encoder_names + [
        name.replace("lora_te_", other_prefix, 1)
        for name in first_encoder_names
        for other_prefix in ("lora_te1_", LYCORIS_PREFIX)
    ]


def _join_with_underscores(prefix: str, path: str) -> str:
    return f"{prefix}_{path.replace('.', '_')}"


def add_model_hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata with the two hashes by which web UIs recognize a file."""
    ss_metadata = {name: value for name, value in metadata.items() if name.startswith("ss_")}
    legacy_hash = file_hashes.compute_legacy_hash(weight_files.serialize_safetensors(tensors, ss_metadata))
    return {**metadata, "sshs_model_hash": file_hashes.compute_data_hash(tensors), "sshs_legacy_hash": legacy_hash}
