"""diffusers folders: one weight file per network, with a JSON configuration next to each."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tetrad.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

_Configuration = Mapping[str, Any]

_NETWORK_STEM, _TEXT_ENCODER_STEM = "diffusion_pytorch_model", "model"
DENOISER = "unet"
FILE_STEMS = {
    DENOISER: _NETWORK_STEM,
    "vae": _NETWORK_STEM,
    "text_encoder": _TEXT_ENCODER_STEM,
    "text_encoder_2": _TEXT_ENCODER_STEM,
}
# Names of the VAE's attention layers in diffusers until 2023, and still in the published Stable Diffusion 1.5 folder.
OLD_ATTENTION_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_SCHEDULER_CONFIG = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
}
PREDICTION_TYPES = {"epsilon": "epsilon", "v": "v_prediction"}


@dataclass(frozen=True)
class Folder:
    """A whole model as a folder: text files by relative path, tensors by network."""

    texts: Mapping[str, str]
    networks: Mapping[str, Mapping[str, Tensor]]
    metadata: Mapping[str, str]  # written into each network's file


def is_folder(path: Path) -> bool:
    """Whether a path is a diffusers folder of a whole model."""
    return (path / DENOISER).is_dir()


def list_file_names(part: str) -> list[str]:
    """Possible names of a network's file, the preferred one first."""
    pickle_name = "pytorch_model.bin" if FILE_STEMS[part] == _TEXT_ENCODER_STEM else f"{_NETWORK_STEM}.bin"
    return [f"{FILE_STEMS[part]}.safetensors", f"{FILE_STEMS[part]}.fp16.safetensors", pickle_name]


def detect_family(parts: Collection[str], unet_tensors: Mapping[str, Tensor]) -> str:
    """The family of a folder's networks.

    XL has a second text encoder; SD 2 has linear layers around its attention where SD 1 has convolutions.
    """
    if "text_encoder_2" in parts:
        return "sdxl"
    uses_linear_projection = any(
        name.endswith(".proj_in.weight") and tensor.ndim == 2 for name, tensor in unet_tensors.items()
    )
    return "sd2" if uses_linear_projection else "sd1"


def decode(parts: Mapping[str, Mapping[str, Tensor]], configurations: Mapping[str, _Configuration]) -> Weights:
    """Canonical weights from a folder's networks and configurations, both by subfolder name.

    From the configurations only the settings that tensor shapes cannot show are kept.
    """
    tensors = {}
    for part, part_tensors in parts.items():
        # A text encoder with a projection keeps CLIP's own model one level down.
        has_projection = "text_projection.weight" in part_tensors
        for name, tensor in part_tensors.items():
            if not name.endswith("position_ids"):
                tensors[f"{part}.{name if has_projection else normalize_name(name)}"] = tensor
    extra_config: dict[str, Any] = {}
    for name in ("unet.attention_head_dim", "unet.norm_num_groups", "vae.norm_num_groups"):
        part, key = name.split(".")
        if isinstance(value := configurations.get(part, {}).get(key), int | list):
            extra_config[name] = value
    for part in ("text_encoder", "text_encoder_2"):
        text_config = configurations.get(part, {})
        if "hidden_size" in text_config and "num_attention_heads" in text_config:
            extra_config[f"{part}.head_width"] = text_config["hidden_size"] // text_config["num_attention_heads"]
        if "hidden_act" in text_config:
            extra_config[f"{part}.hidden_act"] = text_config["hidden_act"]
    metadata = {"tetrad.architecture": json.dumps(extra_config)}
    scheduler_config = configurations.get("scheduler", {})
    metadata["modelspec.prediction_type"] = scheduler_config.get("prediction_type", "epsilon")
    if scheduler_config.get("rescale_betas_zero_snr"):
        metadata["tetrad.flags"] = "ztsnr"
    if isinstance(latent_side := configurations.get("unet", {}).get("sample_size"), int):
        metadata["modelspec.resolution"] = f"{8 * latent_side}x{8 * latent_side}"
    return Weights("checkpoint", tensors, metadata)


def encode(weights: Weights) -> dict[str, dict[str, Tensor]]:
    """Canonical weights as the networks of a folder; the inverse of `decode`.

    A text encoder without a projection gets the prefix `text_model.`, which every release of transformers reads.
    """
    parts = {part: weights.part(part) for part in FILE_STEMS}
    return {
        part: {
            (
                name if "text_projection.weight" in part_tensors or part in ("unet", "vae") else f"text_model.{name}"
            ): tensor
            for name, tensor in part_tensors.items()
        }
        for part, part_tensors in parts.items()
        if part_tensors
    }


def normalize_name(name: str) -> str:
    """A tensor's name as current releases of diffusers and transformers write it."""
    match = re.match(r"(.*\.attentions\.\d+\.)(query|key|value|proj_attn)\.", name)
    name = f"{match[1]}{OLD_ATTENTION_NAMES[match[2]]}{name[match.end() - 1 :]}" if match else name
    return name.removeprefix("text_model.")


def build_model_index(parts: Collection[str], version: str) -> dict[str, Any]:
    """`model_index.json`: the class that loads each subfolder."""
    entries: dict[str, Any] = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": version}
    entries |= {"scheduler": ["diffusers", "DDIMScheduler"], "unet": ["diffusers", "UNet2DConditionModel"]}
    entries |= {"vae": ["diffusers", "AutoencoderKL"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    entries |= {"text_encoder": ["transformers", "CLIPTextModel"]}
    absent = {"feature_extractor": [None, None], "image_encoder": [None, None]}
    if "text_encoder_2" not in parts:
        return entries | absent | {"safety_checker": [None, None], "requires_safety_checker": False}
    entries |= {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True}
    entries |= {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}
    entries |= {"tokenizer_2": ["transformers", "CLIPTokenizer"]}
    return entries | absent


def build_scheduler_config(prediction: str, zero_terminal_snr: bool, version: str) -> dict[str, Any]:
    """`scheduler_config.json`: the noise schedule and the prediction type."""
    if prediction == "flow":
        return {"_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": version, "shift": 1.0}
    config = _SCHEDULER_CONFIG | {"_class_name": "DDIMScheduler", "_diffusers_version": version}
    config |= {"clip_sample": False, "set_alpha_to_one": False, "prediction_type": PREDICTION_TYPES[prediction]}
    spacing = "trailing" if zero_terminal_snr else "leading"
    return config | {"rescale_betas_zero_snr": zero_terminal_snr, "timestep_spacing": spacing}
