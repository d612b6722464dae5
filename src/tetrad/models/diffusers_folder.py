"""Builds the diffusers folder of a whole model: weights, configurations and tokenizers."""

import json
from importlib.metadata import version
from typing import Any

from tetrad.documents import parse_json
from tetrad.formats import diffusers
from tetrad.models.base import Model
from tetrad.models.tokenizer import build_tokenizer_files
from tetrad.weights import Weights


def build_folder(model: Model, weights: Weights) -> diffusers.Folder:
    """A folder that diffusers' pipelines load.  E5201 for a model without a VAE."""
    metadata = {"format": "pt"} | ({"step": weights.metadata["step"]} if "step" in weights.metadata else {})
    return diffusers.Folder(_build_text_files(model), diffusers.encode(weights), metadata)


def _build_text_files(model: Model) -> dict[str, str]:
    """All text files of a folder by relative path: configurations, tokenizers, and the index of classes."""
    networks: dict[str, Any] = model.parts() | {"vae": model.vae.network}
    release = version("diffusers")
    texts = {"model_index.json": as_json(diffusers.build_model_index(networks, release))}
    scheduler = diffusers.build_scheduler_config(model.noise.prediction, model.noise.is_zero_terminal, release)
    texts["scheduler/scheduler_config.json"] = as_json(scheduler)
    texts["vae/config.json"] = networks["vae"].to_json_string()
    configuration = parse_json(networks[model.denoiser].to_json_string())
    side = model.resolution // model.vae.downsampling_factor
    texts[f"{model.denoiser}/config.json"] = as_json(configuration | {"sample_size": side})
    for number, encoder in enumerate(model.text_encoders, 1):
        texts[f"{encoder.name}/config.json"] = encoder.network.config.to_json_string(use_diff=False)
        folder = "tokenizer" if number == 1 else f"tokenizer_{number}"
        texts |= {f"{folder}/{name}": content for name, content in build_tokenizer_files(encoder.pad_token_id).items()}
    return texts


def as_json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True) + "\n"
