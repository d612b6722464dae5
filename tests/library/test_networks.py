"""What was learned, through files and back."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.methods import METHODS
from tetrad.methods.dreambooth import DreamBooth
from tetrad.models.base import Model
from tetrad.weights import Weights


def taught(family: str) -> tuple[Model, Weights]:
    """A model whose every U-Net tensor has moved."""
    model = tiny.model(family=family)
    adapter = DreamBooth().attach(model, generator(0, 0, "method"))
    with torch.no_grad():
        for parameter in adapter.groups()["unet"]:
            parameter.add_(0.01)
    return model, adapter.weights()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize("spelling", ["ldm", "diffusers"])
def test_a_trained_checkpoint_comes_back_as_it_was_and_goes_on_from_its_step(
    family: str, spelling: str, tmp_path: Path
) -> None:
    model, weights = taught(family)
    path = library.save(tmp_path / "zkr", weights, model, {"ss_steps": "400"}, spelling)
    again = tiny.model(family=family)
    read = library.read(path, again, "checkpoint")
    assert same(read.tensors, weights.tensors)
    assert spelling == "diffusers" or read.metadata["ss_steps"] == "400"
    DreamBooth.load(again, read)
    assert same(again.weights().tensors, weights.tensors)
    assert library.load_model(str(path)).family == family


def test_a_checkpoint_of_another_family_is_told(tmp_path: Path) -> None:
    model, weights = taught("sd1")
    for spelling in ("ldm", "diffusers"):
        path = library.save(tmp_path / spelling, weights, model, {}, spelling)
        with pytest.raises(TetradError, match="Stable Diffusion 1") as caught:
            library.read(path, tiny.model(family="sdxl"), "checkpoint")
        assert caught.value.code == "E5102"


def test_a_checkpoint_is_no_lora(tmp_path: Path) -> None:
    model, weights = taught("sd1")
    path = library.save(tmp_path / "zkr", weights, model, {})
    with pytest.raises(TetradError, match=r"is a Stable Diffusion 1 checkpoint, not a LoRA") as caught:
        library.read(path, model, "lora")
    assert caught.value.code == "E5101"


@pytest.mark.parametrize("kind", ["lora", "textual-inversion", "hypernetwork", "dreambooth"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_what_a_training_that_went_wrong_left_is_not_used(kind: str, value: float, tmp_path: Path) -> None:
    model = tiny.model()
    weights = METHODS[kind]().decided("zkr", 2).attach(model, generator(0, 0, "method")).weights()
    name = max(weights.tensors)
    broken = {**weights.tensors, name: torch.full_like(weights.tensors[name], value)}
    with pytest.raises(TetradError, match=r"is no number|of finite numbers") as caught:
        library.save(tmp_path / "zkr", replace(weights, tensors=broken), model, {"step": "1"})  # which reads it back
    assert caught.value.code == ("E5106" if kind == "textual-inversion" else "E5014")


def test_a_model_that_a_merge_left_without_numbers_is_told(tmp_path: Path) -> None:
    model = tiny.model()
    model.unet.conv_in.bias.data[0] = float("nan")
    library.save_checkpoint(tmp_path / "merged.safetensors", model, tiny.weights().metadata)
    with pytest.raises(
        TetradError, match=r"merged\.safetensors: unet\.conv_in\.bias holds what is no number"
    ) as caught:
        library.load_model(str(tmp_path / "merged.safetensors"))
    assert caught.value.code == "E5014"
