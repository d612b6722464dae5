"""Whole models: from a single file, a diffusers folder or "builtin", and back to a file."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from tetrad.builtin import model_path
from tetrad.errors import TetradError, naming
from tetrad.formats import described, diffusers, files, ldm, sniff
from tetrad.models import FAMILIES
from tetrad.models.base import Model, freeze
from tetrad.weights import Weights

Metadata = dict[str, str]


def load_model(name: str) -> Model:
    """A frozen model from a single file, a diffusers folder, or "builtin".

    Raises E5001 … E5010 for what is missing, damaged, unsafe, or not a checkpoint of a family this program knows.
    """
    path = model_path(name)
    family, weights = folder_weights(path) if path.is_dir() else checkpoint_weights(path)
    model = FAMILIES[family].build(weights, path.name)
    freeze(model)
    return model


def checkpoint_weights(path: Path) -> tuple[str, Weights]:
    """A single-file checkpoint's family and weights; E5004 … E5008 where the file is another kind of thing."""
    file = files.read(path)
    kind = sniff(file.tensors)
    if kind in FAMILIES:
        with naming(path):
            return kind, ldm.decode(file.tensors, file.metadata)
    advice = {
        "lora": (
            "E5004",
            'give the checkpoint it was made for with --model, and the LoRA as "<lora:NAME:1>" in a prompt',
        ),
        "vae": ("E5005", "give a whole checkpoint; a VAE is a part of one"),
        "sdxl": ("E5006", "this version trains Stable Diffusion 1"),
        "sd2": ("E5007", "this version trains Stable Diffusion 1"),
    }
    code, what = advice.get(kind, ("E5008", "give a Stable Diffusion 1 checkpoint"))
    raise TetradError(code, f"{path} is {described(kind)}; {what}")


def folder_weights(path: Path) -> tuple[str, Weights]:
    """A diffusers folder's family and weights; E5001 where a part is missing, E5006 and E5007 for another family."""
    settings = {part: read_json(path / where) for part, where in diffusers.CONFIGURATIONS.items()}
    if (path / "text_encoder_2").is_dir():
        raise TetradError("E5006", f"{path} is a Stable Diffusion XL folder; this version trains Stable Diffusion 1")
    if settings["unet"].get("cross_attention_dim") == 1024:
        raise TetradError("E5007", f"{path} is a Stable Diffusion 2 folder; this version trains Stable Diffusion 1")
    parts = {}
    for part, names in diffusers.PARTS.items():
        there = [path / part / name for name in names if (path / part / name).is_file()]
        if not there:
            needed = ", ".join(f"{part}/{names[0]}" for part, names in diffusers.PARTS.items())
            raise TetradError("E5001", f"{path} has no {part}/{names[0]}; a diffusers folder needs {needed}")
        parts[part] = files.read(there[0]).tensors
    return "sd1", diffusers.decode(parts, settings)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file; E5002 where it is none."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise TetradError("E5002", f"{path} is no JSON ({error}); copy the folder again") from error
    if not isinstance(found, dict):
        raise TetradError("E5002", f"{path} holds no settings ({str(found)[:40]}); copy the folder again")
    return found


def save_checkpoint(path: Path, model: Model, metadata: Metadata) -> None:
    """Write a whole model as a single file under LDM names."""
    files.write(path, ldm.encode(model.weights()), metadata)


@cache
def model_hashes(name: str) -> tuple[str, str]:
    """sha256 of a model's file and the oldest short hash of it; empty for a folder."""
    path = model_path(name)
    return (files.file_hash(path), files.file_legacy_hash(path)) if path.is_file() else ("", "")
