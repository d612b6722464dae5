"""Every form of a VAE file that diffusers can read gives the same VAE here and in diffusers."""

from pathlib import Path

import pytest
import tiny
import tiny_vaes
import torch
from diffusers import AutoencoderKL

from tetrad import library

# The forms that diffusers can read; it cannot read old names in a single file, or a pipeline's folder.
SINGLE = [
    "official safetensors",
    "official ckpt",
    "novelai",
    "pickle without a wrapper",
    "first_stage_model",
    "first_stage_model matrices",
    "vae prefix",
    "matrices",
    "diffusers names",
    "checkpoint",
    "checkpoint ckpt",
]
FOLDERS = ["waifu diffusion folder", "old diffusers folder"]


@pytest.mark.parametrize("form", SINGLE + FOLDERS)
def test_a_vae_file_gives_the_same_vae_here_and_in_diffusers(form: str, tmp_path: Path) -> None:
    path = tiny_vaes.FILE_FORMS[form](tmp_path)
    if form in FOLDERS:
        theirs = AutoencoderKL.from_pretrained(path, local_files_only=True)
    else:
        configuration = tiny_vaes.save_folder(tmp_path / "configuration", {})
        theirs = AutoencoderKL.from_single_file(str(path), config=str(configuration), local_files_only=True)
    model = tiny.build_model()
    model.vae.network.register_to_config(norm_num_groups=tiny_vaes.NORM_GROUPS)
    ours = library.load_vae(path, model)
    expected, tensors = theirs.state_dict(), ours.network.state_dict()
    assert expected.keys() == tensors.keys() and all(torch.equal(tensors[name], expected[name]) for name in expected)
    images = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        posterior = theirs.encode(2 * images - 1).latent_dist
        decoded = theirs.decode(posterior.mean).sample / 2 + 0.5
    mean, std = ours.encode(images)
    torch.testing.assert_close(mean, ours.scaling_factor * posterior.mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(std, ours.scaling_factor * posterior.std, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.decode(mean), decoded.clamp(0, 1), atol=1e-5, rtol=1e-5)
