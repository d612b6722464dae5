"""Whole models: from a single file, a diffusers folder or "builtin", and back to a file or a folder."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from tetrad.builtin import PREFIX as BUILTIN
from tetrad.builtin import model_path
from tetrad.errors import TetradError, naming
from tetrad.formats import described, diffusers, files, ldm, sniff
from tetrad.library.pipelines import write_folder
from tetrad.library.vaes import reloader, usual_groups
from tetrad.models import FAMILIES
from tetrad.models.base import Model, freeze
from tetrad.weights import Weights

Metadata = Mapping[str, str]

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
CHECKPOINTS = ("ldm", "diffusers")  # how a whole model is written: a single file, a folder


def load_model(name: str, prediction: str = "", vae: Weights | None = None) -> Model:
    """A frozen model from a single file, a diffusers folder, or "builtin".

    `prediction` ("epsilon" or "v") is for who knows better than the file; `model.told.why` says how it is known. `vae`
    takes the place of the file's own. Raises E5001 … E5014 for what is missing, damaged, unsafe, or not a checkpoint of
    a family this program knows.
    """
    path = model_path(name)
    family, weights = folder_weights(path) if path.is_dir() else checkpoint_weights(path)
    check_numbers(path, weights)
    called = BUILTIN if path == model_path(BUILTIN) else path.name
    model = FAMILIES[family].build(weights, called, prediction, vae)
    freeze(model)
    in_one_file = path.is_file() or len(network_files(path / "vae", "vae")) == 1
    if vae is None and not model.vae.missing and in_one_file:
        model.vae.reload = reloader(path, usual_groups(model.vae))
    return model


def check_numbers(path: Path, weights: Weights) -> None:
    """E5014 where a tensor is empty or holds what is no number, as a merge or a training that went wrong leaves it.

    It takes a second for each billion of numbers, and without it a picture is black or a loss is no number.
    """
    for name, tensor in weights.tensors.items():
        if tensor.is_floating_point() and not (tensor.numel() and is_finite(tensor)):
            what = "holds what is no number" if tensor.numel() else "is empty"
            raise TetradError("E5014", f"{path}: {name} {what}, so nothing can come of it; get or make the file again")


def is_finite(tensor: Tensor) -> bool:
    """Whether all of a tensor's numbers are some; its extremes tell ten times as fast as looking at each."""
    extremes = (tensor.float() if tensor.itemsize == 1 else tensor).aminmax()
    return bool(extremes.min.isfinite() and extremes.max.isfinite())


def checkpoint_weights(path: Path) -> tuple[str, Weights]:
    """A single-file checkpoint's family and weights; E5004, E5005, E5008 where the file is another kind of thing."""
    file = files.read(path)
    kind = sniff(file.tensors)
    if kind in FAMILIES:
        with naming(path):
            return kind, ldm.decode(file.tensors, file.metadata, kind)
    advice = {
        "lora": (
            "E5004",
            'give the checkpoint it was made for with --model, and the LoRA as "<lora:NAME:1>" in a prompt',
        ),
        "vae": ("E5005", "give a whole checkpoint; a VAE is a part of one"),
        "refiner": ("E5008", "give the base model; a refiner only finishes what the base began"),
        "unet": ("E5008", "give a whole checkpoint; a U-Net is a part of one"),
        "text": ("E5008", "give a whole checkpoint; a text encoder is a part of one"),
    }
    code, what = advice.get(kind, ("E5008", "give a Stable Diffusion 1, 2 or XL checkpoint"))
    raise TetradError(code, f"{path} is {described(kind)}; {what}")


def folder_weights(path: Path) -> tuple[str, Weights]:
    """A diffusers folder's family and weights; E5001 where a part is missing."""
    wanted = ["unet", "vae", "text_encoder"] + ["text_encoder_2"] * (path / "text_encoder_2").is_dir()
    configurations = {part: files.read_json(path / part / "config.json") for part in wanted}
    configurations["scheduler"] = files.read_json(path / "scheduler" / "scheduler_config.json")
    parts = {}
    for part in wanted:
        found = network_files(path / part, part)
        if not found and part != "vae":
            needed = ", ".join(f"{part}/{diffusers.FILES[part]}.safetensors" for part in wanted)
            first = f"{part}/{diffusers.FILES[part]}.safetensors"
            raise TetradError("E5001", f"{path} has no {first}; a diffusers folder needs {needed}")
        parts[part] = {name: tensor for file in found for name, tensor in files.read(file).tensors.items()}
    weights = diffusers.decode(parts, configurations)
    steps = {
        key: said for key, said in files.metadata(network_files(path / "unet", "unet")[0]).items() if key == "step"
    }
    return diffusers.family(parts, parts["unet"]), replace(weights, metadata=weights.metadata | steps)


def network_files(folder: Path, part: str) -> list[Path]:
    """The files that a network lies in, several where it was too large for one; none where it is not there."""
    for name in diffusers.places(part):
        if (folder / name).is_file():
            return [folder / name]
        if index := files.read_json(folder / f"{name}.index.json"):
            return [folder / shard for shard in sorted(set(index.get("weight_map", {}).values()))]
    return []


def save_checkpoint(
    path: Path, model: Model, metadata: Metadata, precision: str = "fp16", spelling: str = "ldm"
) -> None:
    """Write a whole model as it is now, VAE included: a single file under LDM names, or a diffusers folder."""
    weights = rounded(model.weights(), precision)
    if spelling == "diffusers":
        write_folder(path, model, weights)
    else:
        files.put(path, single_file(weights, model, metadata))


def single_file(weights: Weights, model: Model, metadata: Metadata) -> files.File:
    """The content of a checkpoint file of these weights, which are a whole model of this one's family."""
    about = {name: said for name, said in weights.metadata.items() if name != "tetrad.flags"}
    return files.File(ldm.encode(weights, model.family), {**about, **metadata})


def rounded(weights: Weights, precision: str) -> Weights:
    """Weights in another precision; what is in it already is not copied."""
    dtype = PRECISIONS[precision]

    def converted(tensor: Tensor) -> Tensor:
        return tensor.detach().to(dtype) if tensor.is_floating_point() else tensor.detach()

    return Weights(weights.kind, {name: converted(t) for name, t in weights.tensors.items()}, weights.metadata)


@cache
def model_hashes(name: str) -> tuple[str, str]:
    """sha256 of a model's file and the oldest short hash of it; empty for a folder."""
    path = model_path(name)
    return (files.file_hash(path), files.file_legacy_hash(path)) if path.is_file() else ("", "")
