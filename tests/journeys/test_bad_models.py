"""Files that are not usable as a model: one sentence, and no code in them is run."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from workspace import Workspace

UNET_CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"
UNET_CONV_OUT = "model.diffusion_model.out.2."


def with_keys(*names: str) -> Callable[[Path, Path], None]:
    """A file with these tensor names and one zero in each."""
    return lambda path, _: save_file({name: torch.zeros(1) for name in names}, path)


def with_bytes(content: bytes) -> Callable[[Path, Path], object]:
    return lambda path, _: path.write_bytes(content)


def truncated(path: Path, model: Path) -> None:
    path.write_bytes(model.read_bytes()[:-1000])


def without(start: str) -> Callable[[Path, Path], None]:
    """The tiny model without the tensors whose names start with `start`."""

    def write(path: Path, model: Path) -> None:
        kept = {name: tensor for name, tensor in load_file(model).items() if not name.startswith(start)}
        save_file(kept, path, tiny.build_weights().metadata)

    return write


def inpainting(path: Path, model: Path) -> None:
    tensors = load_file(model)
    save_file(
        tensors | {UNET_CONV_IN: torch.zeros(len(tensors[UNET_CONV_IN]), 9, 3, 3)}, path, tiny.build_weights().metadata
    )


def with_wrong_shape(path: Path, model: Path) -> None:
    tensors = load_file(model) | {"first_stage_model.decoder.conv_in.weight": torch.zeros(16, 5, 3, 3)}
    save_file(tensors, path, tiny.build_weights().metadata)


def malicious(path: Path, model: Path) -> None:
    class Canary:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {path.parent / 'canary'}",)

    torch.save({"state_dict": load_file(model), "extra": Canary()}, path)


def with_eight_outputs(path: Path, model: Path) -> None:
    """A U-Net that also predicts the noise's variance, as some research models do."""
    tensors = load_file(model)
    doubled = {name: tensors[name].repeat_interleave(2, 0) for name in tensors if name.startswith(UNET_CONV_OUT)}
    save_file(tensors | doubled, path, tiny.build_weights().metadata)


def folder_with(**files: bytes) -> Callable[[Path, Path], None]:
    """A folder with these JSON files; two underscores in a name stand for a slash."""

    def write(path: Path, _: Path) -> None:
        path.mkdir()
        for name, content in files.items():
            file = path / (name.replace("__", "/") + ".json")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    return write


BAD_MODELS: dict[str, tuple[str, Callable[[Path, Path], object], str, str]] = {
    "missing": ("m.safetensors", lambda path, _: None, "E5001", ""),
    "truncated": ("m.safetensors", truncated, "E5002", ""),
    "empty": ("m.safetensors", with_bytes(b""), "E5002", ""),
    "a web page": ("m.safetensors", with_bytes(b"<!DOCTYPE html><html></html>"), "E5003", ""),
    "a web page as ckpt": ("m.ckpt", with_bytes(b"<!DOCTYPE html><html></html>"), "E5003", ""),
    "a Git LFS pointer": ("m.ckpt", with_bytes(b"version https://git-lfs.github.com/spec/v1"), "E5003", "git lfs pull"),
    "a LoRA": ("m.safetensors", with_keys("lora_unet_mid_block_x.lora_up.weight"), "E5004", "LoRA"),
    "a PEFT LoRA": ("m.safetensors", with_keys("unet.mid_block.x.lora_A.weight"), "E5004", "LoRA"),
    "a VAE": ("m.safetensors", with_keys("first_stage_model.encoder.conv_in.weight"), "E5005", "VAE"),
    "a bare VAE": ("m.safetensors", with_keys("encoder.conv_in.weight", "decoder.conv_in.weight"), "E5005", "VAE"),
    "half an SDXL": ("m.safetensors", with_keys(UNET_CONV_IN, "conditioner.embedders.0.transformer.x"), "E5009", ""),
    "half an SD2": ("m.safetensors", with_keys(UNET_CONV_IN, "cond_stage_model.model.ln_final.bias"), "E5009", ""),
    "a refiner": (
        "m.safetensors",
        with_keys(UNET_CONV_IN, "conditioner.embedders.0.model.ln_final.bias"),
        "E5008",
        "refiner",
    ),
    "SD3": ("m.safetensors", with_keys("model.diffusion_model.joint_blocks.0.x"), "E5008", "Stable Diffusion 3"),
    "Flux": ("m.safetensors", with_keys("double_blocks.0.img_attn.qkv.weight"), "E5008", "Flux"),
    "a ControlNet": ("m.safetensors", with_keys("control_model.input_blocks.0.0.weight"), "E5008", "ControlNet"),
    "a U-Net alone": ("m.safetensors", with_keys("time_embedding.linear_1.weight"), "E5008", "U-Net"),
    "an embedding": ("m.safetensors", with_keys("emb_params"), "E5008", "Textual Inversion"),
    "unknown keys": ("m.safetensors", with_keys("weight"), "E5008", ""),
    "a renamed pickle": (
        "m.safetensors",
        lambda path, _: torch.save({"weight": torch.ones(2)}, path),
        "E5002",
        "is a pickle (a .ckpt or .pt file) with the wrong extension; rename it to m.ckpt",
    ),
    "an old renamed pickle": (
        "m.safetensors",
        lambda path, _: torch.save({"weight": torch.ones(2)}, path, _use_new_zipfile_serialization=False),
        "E5002",
        "rename it to m.ckpt",
    ),
    "an inpainting model": ("m.safetensors", inpainting, "E5008", "inpainting"),
    "with a variance besides the noise": ("m.safetensors", with_eight_outputs, "E5009", "8 output channels, not 4"),
    "without a VAE": ("m.safetensors", without("first_stage_model."), "E5201", ""),
    "without one tensor": ("m.safetensors", without("model.diffusion_model.out.2.bias"), "E5009", "conv_out.bias"),
    "with a wrong shape": ("m.safetensors", with_wrong_shape, "E5009", "conv_out"),
    "without its first layer": ("m.safetensors", without(UNET_CONV_IN), "E5009", "conv_in.weight"),
    "without attention": ("m.safetensors", without("model.diffusion_model.input_blocks.1.1."), "E5009", ""),
    "without token embeddings": (
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
    "a malicious pickle": ("m.ckpt", malicious, "E5010", ""),
    "a hypernetwork": ("m.pt", lambda path, _: torch.save({768: ({}, {}), "name": "x"}, path), "E5008", ""),
    "a bare pickle": ("m.pt", with_bytes(pickle.dumps({"a": 1})), "E5002", ""),
    "an empty folder": ("m", folder_with(), "E5001", ""),
    "half an SDXL folder": (
        "m",
        folder_with(text_encoder_2__config=b"{}"),
        "E5001",
        "text_encoder_2/model.safetensors",
    ),
    "a folder with broken JSON": ("m", folder_with(unet__config=b"{"), "E5002", "config.json"),
    "a folder with a JSON list": ("m", folder_with(unet__config=b"[1]"), "E5002", ""),
}


@pytest.mark.parametrize("what", list(BAD_MODELS))
def test_training_on_a_bad_model_is_refused(what: str, workspace: Workspace) -> None:
    name, write, code, expected = BAD_MODELS[what]
    path = workspace.inputs / name
    write(path, workspace.model)
    workspace.assert_refused(workspace.train(model=path), code, name, expected)
    assert not (workspace.inputs / "canary").exists()


def test_generating_with_a_bad_model_is_refused(workspace: Workspace) -> None:
    truncated(workspace.inputs / "m.safetensors", workspace.model)
    workspace.assert_refused(
        workspace.generate("a cat", "--model", workspace.inputs / "m.safetensors"), "E5002", "m.safetensors"
    )
