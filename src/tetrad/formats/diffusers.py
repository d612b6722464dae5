"""diffusers' folders: a file for each network and a little JSON beside it."""

import json
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tetrad.weights import Weights

# Where each network may lie, the best first.
NETWORK = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
)
PARTS = {
    "unet": NETWORK,
    "vae": NETWORK,
    "text_encoder": ("model.safetensors", "model.fp16.safetensors", "pytorch_model.bin"),
}
CONFIGURATIONS = {part: f"{part}/config.json" for part in PARTS} | {"scheduler": "scheduler/scheduler_config.json"}
# The VAE's attention as diffusers spelled it until 2023, and as the published Stable Diffusion 1.5 folder still does.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def decode(parts: Mapping[str, Mapping[str, Tensor]], configurations: Mapping[str, Mapping[str, Any]]) -> Weights:
    """Canonical weights of a folder's networks (by folder name) and their configurations.

    Of the configurations only numbers that the tensors' shapes do not tell are kept.
    """
    tensors = {}
    for part, found in parts.items():
        for name, tensor in found.items():
            if not name.endswith("position_ids"):
                tensors[f"{part}.{modern(name)}"] = tensor
    architecture = {}
    for name in ("unet.attention_head_dim", "unet.norm_num_groups", "vae.norm_num_groups"):
        part, key = name.split(".")
        if isinstance(value := configurations[part].get(key), int):
            architecture[name] = value
    text = configurations["text_encoder"]
    if "hidden_size" in text and "num_attention_heads" in text:
        architecture["text_encoder.head_width"] = text["hidden_size"] // text["num_attention_heads"]
    prediction = configurations.get("scheduler", {}).get("prediction_type", "epsilon")
    metadata = {"tetrad.architecture": json.dumps(architecture), "modelspec.prediction_type": prediction}
    return Weights("checkpoint", tensors, metadata)


def modern(name: str) -> str:
    """A tensor's name as diffusers and transformers spell it now."""
    old = re.match(r"(.*\.attentions\.\d+\.)(query|key|value|proj_attn)\.", name)
    name = f"{old[1]}{OLD_ATTENTION[old[2]]}{name[old.end() - 1 :]}" if old else name
    return name.removeprefix("text_model.")
