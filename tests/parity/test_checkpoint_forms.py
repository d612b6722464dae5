"""Every published file format of Stable Diffusion 1 loads as the same model, bit for bit."""

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

Save = Callable[[Model, Path], Path]


@pytest.fixture(scope="module")
def narrow() -> Model:
    return tiny.build_exportable_model("sd1")


@pytest.fixture(scope="module")
def folder(narrow: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("diffusers") / "model"
    tiny.save_checkpoint(path, narrow, {}, "fp32", "diffusers")
    return path


def save_with_ema(model: Model, path: Path) -> Path:
    """With the other tensors of the published files: CLIP's position ids, EMA weights, the noise schedule."""
    tensors = ldm.encode(model.weights())
    ema = {f"model_ema.{name.removeprefix('model.').replace('.', '')}": tensor for name, tensor in tensors.items()}
    more = {f"{ldm.CLIP_PREFIX}.embeddings.position_ids": torch.arange(77)[None], "betas": torch.rand(1000)}
    more |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(1)}
    more |= {"first_stage_model.loss.logvar": torch.tensor(0.0)}
    zeroed = {name: torch.zeros_like(tensor) for name, tensor in ema.items() if "diffusion_model" in name}
    save_file(tensors | zeroed | more, path / "extras.safetensors")
    return path / "extras.safetensors"


def save_ckpt(model: Model, path: Path) -> Path:
    torch.save({"state_dict": ldm.encode(model.weights()), "global_step": 470000}, path / "model.ckpt")
    return path / "model.ckpt"


def save_old_ckpt(model: Model, path: Path) -> Path:
    """In the format of torch before 1.6: several pickles in sequence, no zip."""
    content = {"state_dict": ldm.encode(model.weights())}
    torch.save(content, path / "old.ckpt", _use_new_zipfile_serialization=False)
    return path / "old.ckpt"


def save_with_oldest_names(model: Model, path: Path) -> Path:
    """CLIP without `text_model`, as in early transformers; diffusers cannot read this."""
    tensors = {name.replace(".text_model.", "."): tensor for name, tensor in ldm.encode(model.weights()).items()}
    save_file(tensors, path / "oldest.safetensors")
    return path / "oldest.safetensors"


def save_with_lightning_classes(model: Model, path: Path) -> Path:
    """Like the first releases: callbacks by class, scores as numpy scalars; diffusers refuses these."""
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


FORMS = [save_with_ema, save_ckpt, save_old_ckpt, save_with_oldest_names, save_with_lightning_classes]


@pytest.mark.parametrize("save", FORMS)
def test_every_form_of_a_single_file_loads_bit_for_bit(save: Save, narrow: Model, tmp_path: Path) -> None:
    tiny.assert_same_weights(library.load_model(str(save(narrow, tmp_path))), narrow)


OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def to_old_vae_name(name: str) -> str:
    for new, old in OLD_ATTENTION.items():
        name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
    return name


def test_a_diffusers_folder_as_first_published_is_the_same_model(narrow: Model, folder: Path, tmp_path: Path) -> None:
    """Stable Diffusion 1.5's own folder has the names of 2022 for the VAE's attention and the text encoder."""
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    text, vae = old / "text_encoder" / "model.safetensors", old / "vae" / "diffusion_pytorch_model.safetensors"
    position_ids = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    assert all(name.startswith("text_model.") for name in load_file(text))
    save_file(load_file(text) | position_ids, text, {"format": "pt"})
    renamed = {to_old_vae_name(name): tensor for name, tensor in load_file(vae).items()}
    assert "decoder.mid_block.attentions.0.proj_attn.weight" in renamed
    save_file(renamed, vae, {"format": "pt"})
    tiny.assert_same_weights(library.load_model(str(old)), narrow)


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
    tiny.assert_same_weights(library.load_model(str(other)), narrow)
