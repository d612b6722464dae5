"""What is given as a model and is none: one sentence, and nothing of it is run."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from places import Place
from safetensors.torch import load_file, save_file

U = "model.diffusion_model.input_blocks.0.0.weight"


def named(*names: str) -> Callable[[Path, Path], None]:
    """A file with these tensor names and next to nothing in them."""
    return lambda path, _: save_file({name: torch.zeros(1) for name in names}, path)


def bytes_of(content: bytes) -> Callable[[Path, Path], object]:
    return lambda path, _: path.write_bytes(content)


def cut_off(path: Path, model: Path) -> None:
    path.write_bytes(model.read_bytes()[:-1000])


def without(start: str) -> Callable[[Path, Path], None]:
    """The tiny model without the tensors whose names begin so."""

    def write(path: Path, model: Path) -> None:
        kept = {name: tensor for name, tensor in load_file(model).items() if not name.startswith(start)}
        save_file(kept, path, tiny.weights().metadata)

    return write


def inpainting(path: Path, model: Path) -> None:
    tensors = load_file(model)
    save_file(tensors | {U: torch.zeros(len(tensors[U]), 9, 3, 3)}, path, tiny.weights().metadata)


def misshapen(path: Path, model: Path) -> None:
    tensors = load_file(model) | {"first_stage_model.decoder.conv_in.weight": torch.zeros(16, 5, 3, 3)}
    save_file(tensors, path, tiny.weights().metadata)


def malicious(path: Path, model: Path) -> None:
    class Canary:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {path.parent / 'canary'}",)

    torch.save({"state_dict": load_file(model), "extra": Canary()}, path)


def in_a_folder(**files: bytes) -> Callable[[Path, Path], None]:
    """A folder with these JSON files; two underscores in a name are a folder inside."""

    def write(path: Path, _: Path) -> None:
        path.mkdir()
        for name, content in files.items():
            file = path / (name.replace("__", "/") + ".json")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    return write


BAD_MODELS: dict[str, tuple[str, Callable[[Path, Path], object], str, str]] = {
    "missing": ("m.safetensors", lambda path, _: None, "E5001", "there is no file"),
    "cut off": ("m.safetensors", cut_off, "E5002", "cut off"),
    "empty": ("m.safetensors", bytes_of(b""), "E5002", ""),
    "a web page": ("m.safetensors", bytes_of(b"<!DOCTYPE html><html></html>"), "E5003", "web page"),
    "a web page as ckpt": ("m.ckpt", bytes_of(b"<!DOCTYPE html><html></html>"), "E5003", "web page"),
    "a placeholder": ("m.ckpt", bytes_of(b"version https://git-lfs.github.com/spec/v1"), "E5003", "git lfs pull"),
    "a LoRA": ("m.safetensors", named("lora_unet_mid_block_x.lora_up.weight"), "E5004", "is a LoRA"),
    "a PEFT LoRA": ("m.safetensors", named("unet.mid_block.x.lora_A.weight"), "E5004", "is a LoRA"),
    "a VAE": ("m.safetensors", named("first_stage_model.encoder.conv_in.weight"), "E5005", "is a VAE"),
    "a bare VAE": ("m.safetensors", named("encoder.conv_in.weight", "decoder.conv_in.weight"), "E5005", "is a VAE"),
    "half an SDXL": ("m.safetensors", named(U, "conditioner.embedders.0.transformer.x"), "E5009", "XL network has"),
    "half an SD2": ("m.safetensors", named(U, "cond_stage_model.model.ln_final.bias"), "E5009", "Stable Diffusion 2"),
    "a refiner": ("m.safetensors", named(U, "conditioner.embedders.0.model.ln_final.bias"), "E5008", "refiner"),
    "SD3": ("m.safetensors", named("model.diffusion_model.joint_blocks.0.x"), "E5008", "Stable Diffusion 3"),
    "Flux": ("m.safetensors", named("double_blocks.0.img_attn.qkv.weight"), "E5008", "Flux"),
    "a ControlNet": ("m.safetensors", named("control_model.input_blocks.0.0.weight"), "E5008", "ControlNet"),
    "a U-Net alone": ("m.safetensors", named("time_embedding.linear_1.weight"), "E5008", "U-Net"),
    "an embedding": ("m.safetensors", named("emb_params"), "E5008", "Textual Inversion"),
    "something else": ("m.safetensors", named("weight"), "E5008", "does not know"),
    "an inpainting model": ("m.safetensors", inpainting, "E5008", "inpainting"),
    "no VAE inside": ("m.safetensors", without("first_stage_model."), "E5201", "no VAE"),
    "one tensor short": ("m.safetensors", without("model.diffusion_model.out.2.bias"), "E5009", "conv_out.bias"),
    "another shape": ("m.safetensors", misshapen, "E5009", "(16, 5, 3, 3), not (16, 4, 3, 3)"),
    "without its first layer": ("m.safetensors", without(U), "E5009", "conv_in.weight"),
    "without attention": ("m.safetensors", without("model.diffusion_model.input_blocks.1.1."), "E5009", ""),
    "without words": (
        "m.safetensors",
        without("cond_stage_model.transformer.text_model.embeddings.token"),
        "E5009",
        "embeddings.token_embedding.weight",
    ),
    "of a width that does not divide": (
        "m.safetensors",
        lambda path, model: save_file(load_file(model), path),
        "E5009",
        "",
    ),
    "a malicious pickle": ("m.ckpt", malicious, "E5010", ".safetensors version"),
    "a hypernetwork": ("m.pt", lambda path, _: torch.save({768: ({}, {}), "name": "x"}, path), "E5008", ""),
    "a bare pickle": ("m.pt", bytes_of(pickle.dumps({"a": 1})), "E5002", ""),
    "an empty folder": ("m", in_a_folder(), "E5001", "a diffusers folder needs"),
    "half an SDXL folder": (
        "m",
        in_a_folder(text_encoder_2__config=b"{}"),
        "E5001",
        "text_encoder_2/model.safetensors",
    ),
    "a folder with broken JSON": ("m", in_a_folder(unet__config=b"{"), "E5002", "no JSON"),
    "a folder with JSON that says nothing": ("m", in_a_folder(unet__config=b"[1]"), "E5002", ""),
}


@pytest.mark.parametrize("what", list(BAD_MODELS))
def test_a_bad_model_is_refused(what: str, place: Place) -> None:
    name, write, code, words = BAD_MODELS[what]
    path = place.inputs / name
    write(path, place.model)
    place.refused(place.train(model=path), code, name, words)
    assert not (place.inputs / "canary").exists()


def test_a_bad_model_is_refused_when_drawing_too(place: Place) -> None:
    cut_off(place.inputs / "m.safetensors", place.model)
    place.refused(place.generate("a cat", "--model", place.inputs / "m.safetensors"), "E5002", "cut off")
