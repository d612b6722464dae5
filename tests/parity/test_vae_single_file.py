"""Every form of a VAE file that diffusers reads is the same VAE here and there."""

from pathlib import Path

import pytest
import tiny
import torch
import vaes
from diffusers import AutoencoderKL

from tetrad import library

# The forms that diffusers' own reader takes: it knows no old names in a single file, and no pipeline's folder.
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
def test_a_vae_file_is_the_same_vae_here_and_in_diffusers(form: str, tmp_path: Path) -> None:
    path = vaes.FORMS[form](tmp_path)
    if form in FOLDERS:
        theirs = AutoencoderKL.from_pretrained(path, local_files_only=True)
    else:
        configuration = vaes.folder(tmp_path / "configuration", {})
        theirs = AutoencoderKL.from_single_file(str(path), config=str(configuration), local_files_only=True)
    model = tiny.model()
    model.vae.network.register_to_config(norm_num_groups=vaes.GROUPS)
    ours = library.load_vae(path, model)
    wanted, found = theirs.state_dict(), ours.network.state_dict()
    assert wanted.keys() == found.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    pictures = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        posterior = theirs.encode(2 * pictures - 1).latent_dist
        decoded = theirs.decode(posterior.mean).sample / 2 + 0.5
    mean, std = ours.encode(pictures)
    torch.testing.assert_close(mean, ours.scale * posterior.mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(std, ours.scale * posterior.std, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.decode(mean), decoded.clamp(0, 1), atol=1e-5, rtol=1e-5)
