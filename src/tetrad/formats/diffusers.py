"""diffusers' folders: a file for each network and a little JSON beside it."""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from tetrad.weights import Weights

Configuration = Mapping[str, Any]

NETWORK, TEXT = "diffusion_pytorch_model", "model"
FILES = {"unet": NETWORK, "vae": NETWORK, "text_encoder": TEXT, "text_encoder_2": TEXT}
# The VAE's attention as diffusers spelled it until 2023, and as the published Stable Diffusion 1.5 folder still does.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
}
PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction"}


def places(part: str) -> list[str]:
    """What a network's file may be called, the best first."""
    pickled = "pytorch_model.bin" if FILES[part] == TEXT else f"{NETWORK}.bin"
    return [f"{FILES[part]}.safetensors", f"{FILES[part]}.fp16.safetensors", pickled]


def family(parts: Collection[str], unet: Mapping[str, Tensor]) -> str:
    """XL has a second text encoder; 2 has matrices around its attention where 1 has convolutions."""
    if "text_encoder_2" in parts:
        return "sdxl"
    linear = any(name.endswith(".proj_in.weight") and tensor.ndim == 2 for name, tensor in unet.items())
    return "sd2" if linear else "sd1"


def decode(parts: Mapping[str, Mapping[str, Tensor]], configurations: Mapping[str, Configuration]) -> Weights:
    """Canonical weights of a folder's networks (by folder name) and their configurations.

    Of the configurations only what the tensors' shapes do not tell is kept.
    """
    tensors = {}
    for part, found in parts.items():
        projects = "text_projection.weight" in found  # such an encoder keeps CLIP's own model one level down
        for name, tensor in found.items():
            if not name.endswith("position_ids"):
                tensors[f"{part}.{name if projects else modern(name)}"] = tensor
    about: dict[str, Any] = {}
    for name in ("unet.attention_head_dim", "unet.norm_num_groups", "vae.norm_num_groups"):
        part, key = name.split(".")
        if isinstance(value := configurations.get(part, {}).get(key), int | list):
            about[name] = value
    for part in ("text_encoder", "text_encoder_2"):
        text = configurations.get(part, {})
        if "hidden_size" in text and "num_attention_heads" in text:
            about[f"{part}.head_width"] = text["hidden_size"] // text["num_attention_heads"]
        if "hidden_act" in text:
            about[f"{part}.hidden_act"] = text["hidden_act"]
    metadata = {"tetrad.architecture": json.dumps(about)}
    scheduler = configurations.get("scheduler", {})
    metadata["modelspec.prediction_type"] = scheduler.get("prediction_type", "epsilon")
    if scheduler.get("rescale_betas_zero_snr"):
        metadata["tetrad.flags"] = "ztsnr"
    if isinstance(side := configurations.get("unet", {}).get("sample_size"), int):
        metadata["modelspec.resolution"] = f"{8 * side}x{8 * side}"
    return Weights("checkpoint", tensors, metadata)


def encode(weights: Weights) -> dict[str, dict[str, Tensor]]:
    """Canonical weights as a folder's networks, the inverse of `decode`.

    A text encoder without a projection gets the prefix that every release of transformers reads.
    """
    parts = {part: weights.part(part) for part in FILES}
    return {
        part: {
            name if "text_projection.weight" in found or part in ("unet", "vae") else f"text_model.{name}": tensor
            for name, tensor in found.items()
        }
        for part, found in parts.items()
        if found
    }


def modern(name: str) -> str:
    """A tensor's name as diffusers and transformers spell it now."""
    old = re.match(r"(.*\.attentions\.\d+\.)(query|key|value|proj_attn)\.", name)
    name = f"{old[1]}{OLD_ATTENTION[old[2]]}{name[old.end() - 1 :]}" if old else name
    return name.removeprefix("text_model.")


def index(parts: Collection[str], version: str) -> dict[str, Any]:
    """`model_index.json`: which class reads which folder."""
    found: dict[str, Any] = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": version}
    found |= {"scheduler": ["diffusers", "DDIMScheduler"], "unet": ["diffusers", "UNet2DConditionModel"]}
    found |= {"vae": ["diffusers", "AutoencoderKL"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    found |= {"text_encoder": ["transformers", "CLIPTextModel"]}
    absent = {"feature_extractor": [None, None], "image_encoder": [None, None]}
    if "text_encoder_2" not in parts:
        return found | absent | {"safety_checker": [None, None], "requires_safety_checker": False}
    found |= {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True}
    found |= {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}
    found |= {"tokenizer_2": ["transformers", "CLIPTokenizer"]}
    return found | absent


def scheduler(prediction: str, zero_terminal: bool, version: str) -> dict[str, Any]:
    """`scheduler_config.json`: the noise table and what the network predicts."""
    found = SCHEDULER | {"_class_name": "DDIMScheduler", "_diffusers_version": version}
    found |= {"clip_sample": False, "set_alpha_to_one": False, "prediction_type": PREDICTIONS[prediction]}
    spacing = "trailing" if zero_terminal else "leading"
    return found | {"rescale_betas_zero_snr": zero_terminal, "timestep_spacing": spacing}
