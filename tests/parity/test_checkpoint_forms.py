"""Stable Diffusion 1 in every form it has been published in is the same model, to the last bit."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from tetrad import library
from tetrad.formats import ldm
from tetrad.models.base import Model

Write = Callable[[Model, Path], Path]


@pytest.fixture(scope="module")
def narrow() -> Model:
    return tiny.narrow("sd1")


@pytest.fixture(scope="module")
def folder(narrow: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("diffusers") / "model"
    library.save_checkpoint(path, narrow, {}, "fp32", "diffusers")
    return path


def with_averages(model: Model, path: Path) -> Path:
    """What the published files carry beside the networks: CLIP's row numbers, averages, the noise table."""
    tensors = ldm.encode(model.weights())
    averages = {f"model_ema.{name.removeprefix('model.').replace('.', '')}": tensor for name, tensor in tensors.items()}
    more = {f"{ldm.CLIP}.embeddings.position_ids": torch.arange(77)[None], "betas": torch.rand(1000)}
    more |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(1)}
    more |= {"first_stage_model.loss.logvar": torch.tensor(0.0)}
    zeroed = {name: torch.zeros_like(tensor) for name, tensor in averages.items() if "diffusion_model" in name}
    save_file(tensors | zeroed | more, path / "extras.safetensors")
    return path / "extras.safetensors"


def in_a_ckpt(model: Model, path: Path) -> Path:
    torch.save({"state_dict": ldm.encode(model.weights()), "global_step": 470000}, path / "model.ckpt")
    return path / "model.ckpt"


def in_an_old_ckpt(model: Model, path: Path) -> Path:
    """As torch wrote before 1.6: a row of pickles, no zip."""
    content = {"state_dict": ldm.encode(model.weights())}
    torch.save(content, path / "old.ckpt", _use_new_zipfile_serialization=False)
    return path / "old.ckpt"


def with_the_oldest_names(model: Model, path: Path) -> Path:
    """CLIP without `text_model`, as transformers once spelled it; diffusers does not read these."""
    tensors = {name.replace(".text_model.", "."): tensor for name, tensor in ldm.encode(model.weights()).items()}
    save_file(tensors, path / "oldest.safetensors")
    return path / "oldest.safetensors"


def with_lightning_inside(model: Model, path: Path) -> Path:
    """As the first releases were pickled: callbacks under their class, scores as numpy scalars; diffusers refuses."""
    module = ModuleType("pytorch_lightning.callbacks.model_checkpoint")

    class ModelCheckpoint:
        def __init__(self) -> None:
            self.best = np.float64(0.13)

    ModelCheckpoint.__module__, ModelCheckpoint.__qualname__ = module.__name__, "ModelCheckpoint"
    module.__dict__["ModelCheckpoint"] = ModelCheckpoint
    packages = {name: ModuleType(name) for name in ("pytorch_lightning", "pytorch_lightning.callbacks")}
    with pytest.MonkeyPatch.context() as patch:
        for name, package in (packages | {module.__name__: module}).items():
            patch.setitem(sys.modules, name, package)
        content = {
            "state_dict": ldm.encode(model.weights()),
            "callbacks": {ModelCheckpoint: {"best_model_score": np.float32(0.1)}},
            "monitor": ModelCheckpoint(),
        }
        torch.save(content, path / "lightning.ckpt")
    return path / "lightning.ckpt"


FORMS = [with_averages, in_a_ckpt, in_an_old_ckpt, with_the_oldest_names, with_lightning_inside]


@pytest.mark.parametrize("write", FORMS)
def test_a_single_file_loads_to_the_last_bit(write: Write, narrow: Model, tmp_path: Path) -> None:
    assert_same_numbers(library.load_model(str(write(narrow, tmp_path))), narrow)


def assert_same_numbers(ours: Model, wanted: Model) -> None:
    """Every tensor equal to the last bit."""
    found, tensors = ours.weights().tensors, wanted.weights().tensors
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def old_vae(name: str) -> str:
    for new, old in OLD_ATTENTION.items():
        name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
    return name


def test_a_diffusers_folder_as_first_published_is_the_same_model(narrow: Model, folder: Path, tmp_path: Path) -> None:
    """Stable Diffusion 1.5's own folder spells the VAE's attention and the text encoder as libraries did in 2022."""
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    text, vae = old / "text_encoder" / "model.safetensors", old / "vae" / "diffusion_pytorch_model.safetensors"
    rows = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    assert all(name.startswith("text_model.") for name in load_file(text))
    save_file(load_file(text) | rows, text, {"format": "pt"})
    renamed = {old_vae(name): tensor for name, tensor in load_file(vae).items()}
    assert "decoder.mid_block.attentions.0.proj_attn.weight" in renamed
    save_file(renamed, vae, {"format": "pt"})
    assert_same_numbers(library.load_model(str(old)), narrow)


@pytest.mark.parametrize("form", ["fp16.safetensors", "bin"])
def test_a_diffusers_folder_in_its_other_forms_is_the_same_model(
    form: str, narrow: Model, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    for path in other.rglob("*.safetensors"):
        stem = "pytorch_model" if path.stem == "model" and form == "bin" else path.stem
        (torch.save if form == "bin" else save_file)(load_file(path), path.with_name(f"{stem}.{form}"))
        path.unlink()
    assert_same_numbers(library.load_model(str(other)), narrow)
