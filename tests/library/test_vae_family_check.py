"""A warning where a VAE file seems to be of another model family than the model."""

import json
from pathlib import Path

import pytest
import tiny
import tiny_vaes
import torch

from tetrad import library
from tetrad.formats import file_hashes
from tetrad.models import latent_space
from tetrad.models.base import Model
from tetrad.models.vae import Vae


@pytest.fixture(scope="module")
def base() -> Model:
    return tiny.build_model()


@pytest.fixture
def model(base: Model) -> Model:
    """A model whose own VAE is `tiny_vaes.build_vae()`."""
    base.vae = Vae(tiny_vaes.build_vae(), 0.18215)
    return base


def test_a_vae_with_other_latents_is_a_warning(model: Model, tmp_path: Path) -> None:
    """Both have the same names and shapes; only their latents of an image show that they are unrelated."""
    vae = library.load_vae(
        tiny_vaes.save_safetensors(tmp_path / "xl.safetensors", tiny_vaes.ldm_tensors(tiny_vaes.build_vae(seed=1))),
        model,
    )
    [warning] = vae.warnings
    assert "xl.safetensors seems to be" in str(warning) and "differ" in str(warning)


def test_a_vae_with_the_other_familys_scale_is_a_warning(model: Model, tmp_path: Path) -> None:
    other = tiny_vaes.scale_latents(tiny_vaes.build_vae(), 0.18215 / 0.13025)
    path = tiny_vaes.save_safetensors(tmp_path / "a.safetensors", tiny_vaes.ldm_tensors(other))
    assert "differ" in str(library.load_vae(path, model).warnings[0])


@pytest.mark.parametrize("trained", ["decoder", "encoder"])
def test_a_fine_tuned_vae_is_no_warning(trained: str, model: Model, tmp_path: Path) -> None:
    other = tiny_vaes.build_vae()
    for tensor in getattr(other, trained).parameters():
        tensor += (
            0.02 * tensor.std(correction=0) * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1))
        )
    assert not library.load_vae(
        tiny_vaes.save_safetensors(tmp_path / "a.safetensors", tiny_vaes.ldm_tensors(other)), model
    ).warnings


def test_another_scaling_factor_in_the_configuration_is_a_warning(model: Model, tmp_path: Path) -> None:
    path = tiny_vaes.save_folder(tmp_path / "vae", tiny_vaes.diffusers_tensors(), scaling_factor=0.13025)
    assert "Stable Diffusion XL" in str(library.load_vae(path, model).warnings[0])
    path = tiny_vaes.save_folder(tmp_path / "vae", tiny_vaes.diffusers_tensors(), scaling_factor=0.18215)
    assert not library.load_vae(path, model).warnings


def test_another_family_in_the_metadata_is_a_warning(model: Model, tmp_path: Path) -> None:
    metadata = {"modelspec.architecture": "stable-diffusion-xl-v1-base/vae"}
    path = tiny_vaes.save_safetensors(tmp_path / "a.safetensors", tiny_vaes.ldm_tensors(), metadata)
    assert "Stable Diffusion XL" in str(library.load_vae(path, model).warnings[0])


def test_a_well_known_file_is_recognized_by_its_hash(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_vaes.save_safetensors(tmp_path / "a.safetensors", tiny_vaes.ldm_tensors())
    known_hashes = {file_hashes.compute_file_hash(path): ("sdxl_vae", latent_space.XL_SPACE)}
    monkeypatch.setattr(latent_space, "KNOWN_VAE_HASHES", known_hashes)
    assert "its hash is that of sdxl_vae" in str(library.load_vae(path, model).warnings[0])


@pytest.mark.parametrize("space", latent_space.LATENT_SPACES)
def test_for_a_checkpoint_without_a_vae_the_spread_of_latents_decides(
    space: latent_space.LatentSpace, base: Model, tmp_path: Path
) -> None:
    """Two synthetic VAEs, one with the latent spread of each family."""
    base.vae = Vae(None, 0.18215)
    other = tiny_vaes.set_latent_std(tiny_vaes.build_vae(), 1 / space.scaling_factor)
    tensors = tiny_vaes.ldm_tensors(other)
    path = tiny_vaes.save_folder(tmp_path / "vae", tensors)
    (path / "config.json").write_text(json.dumps({"norm_num_groups": tiny_vaes.NORM_GROUPS}), "utf-8")
    warnings = library.load_vae(path, base).warnings
    assert bool(warnings) == (space is latent_space.XL_SPACE)
