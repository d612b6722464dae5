"""Trained weights and whole models, written to files and read back."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.formats import ldm, weight_files
from tetrad.methods import METHODS, DreamBooth
from tetrad.models.base import Model
from tetrad.weights import Weights


def train_checkpoint(family: str) -> tuple[Model, Weights]:
    """A model, and weights in which every U-Net tensor differs from the model's."""
    model = tiny.build_model(family=family)
    adapter = tiny.attach(DreamBooth(), model, generator(0, 0, "method"))
    with torch.no_grad():
        for parameter in tiny.parts(adapter)["unet"]:
            parameter.add_(0.01)
    return model, adapter.weights()


def are_equal(tensors: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    return tensors.keys() == others.keys() and all(torch.equal(tensors[name], others[name]) for name in tensors)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize("file_format", ["ldm", "diffusers"])
def test_a_trained_checkpoint_is_read_back_unchanged_with_its_step(
    family: str, file_format: str, tmp_path: Path
) -> None:
    model, weights = train_checkpoint(family)
    path = library.save_weights(tmp_path / "zkr", weights, model, {"ss_steps": "400"}, file_format)
    again = tiny.build_model(family=family)
    read = library.read_weights(path, again, "checkpoint")
    assert are_equal(read.tensors, weights.tensors)
    assert file_format == "diffusers" or read.metadata["ss_steps"] == "400"
    tiny.load(DreamBooth, again, read)
    assert are_equal(again.weights().tensors, weights.tensors)
    assert library.load_model(str(path)).family == family


def test_a_checkpoint_of_another_family_is_an_error(tmp_path: Path) -> None:
    model, weights = train_checkpoint("sd1")
    for file_format in ("ldm", "diffusers"):
        path = library.save_weights(tmp_path / file_format, weights, model, {}, file_format)
        with pytest.raises(TetradError, match=r"E5102.*Stable Diffusion 1"):
            library.read_weights(path, tiny.build_model(family="sdxl"), "checkpoint")


def test_a_checkpoint_is_not_accepted_as_a_lora(tmp_path: Path) -> None:
    model, weights = train_checkpoint("sd1")
    path = library.save_weights(tmp_path / "zkr", weights, model, {})
    with pytest.raises(TetradError, match=r"E5101.*is a Stable Diffusion 1 checkpoint, not a LoRA"):
        library.read_weights(path, model, "lora")


@pytest.mark.parametrize("method", ["lora", "textual-inversion", "hypernetwork", "dreambooth"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_trained_weights_with_nan_or_inf_are_an_error(method: str, value: float, tmp_path: Path) -> None:
    model = tiny.build_model()
    weights = tiny.attach(METHODS[method]().with_defaults("zkr", 2), model, generator(0, 0, "method")).weights()
    name = max(weights.tensors)
    broken = {**weights.tensors, name: torch.full_like(weights.tensors[name], value)}
    with pytest.raises(TetradError, match="E7002"):
        library.save_weights(tmp_path / "zkr", replace(weights, tensors=broken), model, {"step": "1"})
    assert not list(tmp_path.iterdir())


def test_a_model_with_nan_is_an_error(tmp_path: Path) -> None:
    model = tiny.build_model()
    model.unet.conv_in.bias.data[0] = float("nan")
    weight_files.write_safetensors(
        tmp_path / "merged.safetensors", ldm.encode(model.weights()), tiny.build_weights().metadata
    )
    with pytest.raises(TetradError, match=r"E5014.*merged\.safetensors") as caught:
        library.load_model(str(tmp_path / "merged.safetensors"))
    assert caught.value.sentence.values["tensor"] == "unet.conv_in.bias"
