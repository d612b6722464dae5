"""kohya's LoRA files: `lora_unet_<path with underscores>.lora_down.weight`, and what they say of themselves.

LyCORIS writes its LoCon, LoHa, LoKr and DoRA the same way, with tensors of other names behind the same layers.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from tetrad.formats import files, ldm
from tetrad.weights import Weights

PREFIXES = {"unet": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}
LYCORIS = "lycoris_"  # before the path of a layer where LyCORIS trained one network by itself
TENSORS = {"down": "lora_down.weight", "up": "lora_up.weight", "mid": "lora_mid.weight"}
TENSORS |= {"alpha": "alpha", "magnitude": "dora_scale"}
TENSORS |= {name: name for name in ("diff", "diff_b", "w_norm", "b_norm")}
TENSORS |= {f"hada_{name}": f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")}
TENSORS |= {f"lokr_{name}": f"lokr_{name}" for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t1", "t2")}


def encode(weights: Weights, layers: Collection[str] = ()) -> dict[str, Tensor]:
    """A LoRA under kohya's names, for the model with these layers.

    For SD1 and SD2 kohya writes diffusers' module paths of the U-Net, for XL the single file's.
    """
    xl = spelled_for_xl(layers)
    encoded = {}
    for name, tensor in weights.tensors.items():
        layer, _, kind = name.rpartition(".")
        encoded[f"{xl.get(layer) or spelled(layer)}.{TENSORS[kind]}"] = tensor
    return encoded


def decode(
    tensors: Mapping[str, Tensor], layers: Collection[str], metadata: Mapping[str, str]
) -> tuple[Weights, list[str]]:
    """A kohya file's LoRA for the model with these layers (canonical paths), and the keys that no layer answers to.

    Underscores hide where a path's dots were, so the names are looked up among the layers' own; a missing alpha is the
    rank, as every reader takes it.
    """
    paths = {spelling: layer for layer in layers for spelling in spellings(layer)}
    paths |= {underscored("lora_unet", theirs): ours for ours, theirs in ldm.unet_paths(layers).items()}
    kinds = {ending: kind for kind, ending in TENSORS.items()} | {"lora_A.weight": "down", "lora_B.weight": "up"}
    found: dict[str, Tensor] = {}
    unmatched = []
    for key, tensor in tensors.items():
        module, _, ending = key.partition(".")
        name = f"{paths.get(module)}.{kinds.get(ending)}"
        if module in paths and ending in kinds and name not in found:
            found[name] = tensor
        else:  # no layer answers to it, or another spelling of the same layer did
            unmatched.append(key)
    for name, tensor in list(found.items()):
        if name.endswith(".down"):
            found.setdefault(name.removesuffix("down") + "alpha", torch.tensor(float(len(tensor))))
    return Weights("lora", found, dict(metadata)), unmatched


def spelled(layer: str) -> str:
    """`text_encoder.encoder.layers.0.mlp.fc1` → `lora_te_text_model_encoder_layers_0_mlp_fc1`."""
    part, _, path = layer.partition(".")
    return underscored(PREFIXES[part], f"text_model.{path}" if part == "text_encoder" else path)


def spelled_for_xl(layers: Collection[str]) -> dict[str, str]:
    """The layers of a model with two text encoders as kohya spells them; nothing for other models."""
    if not any(layer.startswith("text_encoder_2.") for layer in layers):
        return {}
    first = [layer for layer in layers if layer.startswith("text_encoder.")]
    return {ours: underscored("lora_unet", theirs) for ours, theirs in ldm.unet_paths(layers).items()} | {
        layer: spelled(layer).replace("lora_te_", "lora_te1_", 1) for layer in first
    }


def spellings(layer: str) -> list[str]:
    """Every way a layer is written by some tool, ours first."""
    ours = spelled(layer)
    if not layer.startswith("text_encoder"):
        return [ours, ours.replace("lora_unet_", LYCORIS, 1)]
    both = [ours, ours.replace("_text_model_", "_", 1)]
    first = [name for name in both if name.startswith("lora_te_")]
    return both + [name.replace("lora_te_", other, 1) for name in first for other in ("lora_te1_", LYCORIS)]


def underscored(prefix: str, path: str) -> str:
    return f"{prefix}_{path.replace('.', '_')}"


def signed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata with the two hashes by which web UIs recognise a file."""
    only_ss = {name: value for name, value in metadata.items() if name.startswith("ss_")}
    legacy = files.legacy_hash(files.serialized(tensors, only_ss))
    return {**metadata, "sshs_model_hash": files.data_hash(tensors), "sshs_legacy_hash": legacy}
