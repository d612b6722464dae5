"""Every conversion there and back gives the same file: names, types and bits of all tensors, and the metadata."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import a1111_images
import pytest
import tiny
import torch
from torch import Tensor

from tetrad import library
from tetrad.conversion.convert import convert
from tetrad.diffusion.randomness import generator
from tetrad.formats import diffusers, ldm, weight_files
from tetrad.library.vae.load import check_read_back
from tetrad.methods import Lora
from tetrad.methods.base import parameters_of
from tetrad.models import FAMILIES
from tetrad.models.base import Model
from tetrad.weights import Weights

Make = Callable[[Path], Path]
SOMETHING = {"title": "mine", "sd_merge_recipe": '{"type": "webui"}'}


@cache
def build_model(family: str) -> Model:
    return FAMILIES[family].build(tiny.build_weights(family=family, is_shallow=family != "sdxl"), family)


def checkpoint(family: str = "sd1", precision: str = "fp16", format: str = "ldm") -> Make:
    def save(folder: Path) -> Path:
        model = build_model(family)
        about = model.weights().metadata | SOMETHING
        return tiny.save_checkpoint(folder / f"model-{family}", model, about, precision, format)

    return save


def ckpt(folder: Path) -> Path:
    torch.save({"state_dict": ldm.encode(build_model("sd1").weights())}, folder / "model.ckpt")
    return folder / "model.ckpt"


def lora(format: str, **settings: Any) -> Make:
    def save(folder: Path) -> Path:
        model = build_model("sd1")
        adapter = tiny.attach(Lora(rank=2, **settings), model, generator(0, 0, "method"))
        for number, parameter in enumerate(parameters_of(adapter)):
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator(number, 0, "lora"))
        weights = library.cast_weights(adapter.weights(), "fp16")
        adapter.detach()
        return library.save_weights(folder / "lora", weights, model, {"ss_output_name": "zkr", **SOMETHING}, format)

    return save


def embedding(format: str, *widths: int) -> Make:
    def save(folder: Path) -> Path:
        sizes = zip(("text_encoder", "text_encoder_2"), widths, strict=False)
        rows = {part: torch.randn(3, width, generator=generator(0, 0, part)) for part, width in sizes}
        if format == "png":
            return a1111_images.save_image(folder / "zkr.png", rows["text_encoder"], "zkr")
        model = build_model("sd1" if len(widths) == 1 else "sdxl")
        about = {"step": "7", "ss_sd_model_name": "base.safetensors", "ss_new_sd_model_hash": "0123456789"}
        return library.save_weights(folder / "zkr", Weights("embedding", rows), model, about, format)

    return save


# A file, and the formats and precisions that it is converted to one after another; the last is its own.
ROUND_TRIPS: dict[str, tuple[Make, list[dict[str, str]]]] = {
    ".safetensors as .ckpt": (checkpoint(), [{"to": "ckpt"}, {"to": "safetensors"}]),
    ".ckpt as .safetensors": (ckpt, [{"to": "safetensors"}, {"to": "ckpt"}]),
    **{
        f"{family} as a diffusers folder": (checkpoint(family), [{"to": "diffusers"}, {"to": "safetensors"}])
        for family in FAMILIES
    },
    "a diffusers folder as one file": (
        checkpoint("sd2", "fp32", "diffusers"),
        [{"to": "safetensors"}, {"to": "diffusers"}],
    ),
    "fp16 as fp32": (checkpoint(), [{"precision": "fp32"}, {"precision": "fp16"}]),
    "bf16 as fp32": (checkpoint("sd1", "bf16"), [{"precision": "fp32"}, {"precision": "bf16"}]),
    "a LoRA as diffusers has it": (lora("kohya"), [{"to": "diffusers"}, {"to": "kohya"}]),
    "a LoRA of diffusers as kohya has it": (lora("diffusers"), [{"to": "kohya"}, {"to": "diffusers"}]),
    "a LoCon as diffusers has it": (lora("kohya", conv_rank=2), [{"to": "diffusers"}, {"to": "lycoris"}]),
    "a DoRA in fp32": (
        lora("lycoris", dora=True),
        [{"to": "lycoris", "precision": "fp32"}, {"to": "lycoris", "precision": "fp16"}],
    ),
    "an embedding as .pt": (embedding("safetensors", 32), [{"to": "pt"}, {"to": "safetensors"}]),
    "an embedding of A1111": (embedding("pt", 32), [{"to": "safetensors"}, {"to": "pt"}]),
    "an embedding in an image": (embedding("png", 32), [{"to": "pt"}, {"to": "png"}]),
    "an embedding as an image": (embedding("pt", 32), [{"to": "png"}, {"to": "pt"}]),
    "an XL embedding as .pt": (embedding("safetensors", 32, 48), [{"to": "pt"}, {"to": "safetensors"}]),
    "an XL embedding as an image": (embedding("safetensors", 32, 48), [{"to": "png"}, {"to": "safetensors"}]),
}
# The rest is written anew, such as JSON with other spaces; and what .ckpt, .pt and .png have no place for is noted.
KEPT = {"ss_output_name", "title", "sd_merge_recipe", "step", "modelspec.prediction_type", "sshs_model_hash"}


@pytest.mark.parametrize("name", list(ROUND_TRIPS))
def test_there_and_back_is_the_same_file(name: str, tmp_path: Path) -> None:
    make, steps = ROUND_TRIPS[name]
    source = path = make(tmp_path)
    base = library.save_weights(tmp_path / "base", build_model("sd1").weights(), build_model("sd1"), {})
    is_lora = "lo" in source.stem
    for number, step in enumerate(steps):
        (folder := tmp_path / str(number)).mkdir()
        ending = {"png": ".png", "pt": ".pt", "ckpt": ".ckpt", "diffusers": ".safetensors" if is_lora else ""}
        out = folder / f"{source.stem}{ending.get(step.get('to', ''), '.safetensors')}"
        path = convert(path, out=out, **step, **({"model": str(base)} if is_lora else {})).paths[0]
    before, after = read(source), read(path)
    check_read_back(path, after.tensors, before.tensors)
    if {".ckpt", ".pt", ".png"}.isdisjoint({each.suffix for each in tmp_path.rglob("*")}):
        assert before.metadata.keys() == after.metadata.keys()
        assert all(before.metadata[key] == after.metadata[key] for key in KEPT & before.metadata.keys())


def read(path: Path) -> weight_files.WeightFile:
    """A file, or all files of a diffusers folder as one, with those that are text as metadata."""
    if path.is_file():
        return weight_files.read_weight_file(path, keep_float8=True)
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for part, stem in diffusers.FILE_STEMS.items():
        for file in (path / part).glob(f"{stem}.*"):
            content = weight_files.read_weight_file(file)
            tensors |= {f"{part}.{name}": tensor for name, tensor in content.tensors.items()}
    metadata |= {str(file.relative_to(path)): file.read_text("utf-8") for file in path.rglob("*.json")}
    return weight_files.WeightFile(tensors, metadata)
