"""The VAE that draws a picture: missing, mounted, in half precision; each is said, and none costs a drawing first."""

import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
import vaes
from PIL import Image

from tetrad import library
from tetrad.errors import TetradError
from tetrad.formats import files, ldm
from tetrad.generation import png
from tetrad.studio import Studio

PROGRAM = "import sys; from tetrad.cli import main; sys.argv[0] = 'tetrad'; main()"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, the same without its VAE, and in a folder a VAE for it whose decoder overflows in half precision."""
    path = tmp_path_factory.mktemp("models")
    whole, about = ldm.encode(tiny.weights()), tiny.weights().metadata
    files.write(path / "cat.safetensors", whole, about)
    bare = {name: tensor for name, tensor in whole.items() if not name.startswith(ldm.VAE)}
    files.write(path / "bare.safetensors", bare, about)
    own = {name: tensor.clone() for name, tensor in tiny.weights().tensors.items() if name.startswith("vae.")}
    own["vae.decoder.up_blocks.0.resnets.0.conv1.weight"] *= 1e7
    (path / "vaes").mkdir()
    library.save_vae(path / "vaes" / "big.safetensors", vaes.Weights("vae", own), about)
    return path


def tetrad(place: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", PROGRAM, "generate", "a cat", "--steps", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=place, timeout=300)


def test_a_picture_through_a_vae_of_a_folder_in_half_precision(place: Path) -> None:
    vae = ("--vae-dir", "vaes", "--vae", "big")
    done = tetrad(place, "--model", "cat.safetensors", *vae, "--vae-precision", "fp16", "--out", "half.png")
    assert done.returncode == 0, done.stderr
    assert "VAE: big.safetensors, because it was chosen by name" in done.stderr
    assert "W3203 the VAE could not decode in float16" in done.stderr
    hashed = files.file_hash(place / "vaes" / "big.safetensors")[:10]
    text = png.parameters(place / "half.png")
    assert f"VAE hash: {hashed}" in text and "VAE: big.safetensors" in text


def test_without_a_vae_nothing_is_drawn_unless_the_bare_latents_are_wanted(place: Path) -> None:
    done = tetrad(place, "--model", "bare.safetensors", "--out", "none.png")
    assert done.returncode == 5 and done.stderr.count("\n") == 1 and done.stderr.startswith("E5201 no VAE is inside")
    assert all(way in done.stderr for way in (".vae.safetensors behind it", "the VAE folder", "with --vae", "--no-vae"))
    assert not (place / "none.png").exists()
    done = tetrad(place, "--model", "bare.safetensors", "--no-vae", "--out", "noise.png")
    assert done.returncode == 0, done.stderr
    picture = Image.open(place / "noise.png")
    small = picture.resize((picture.width // 8, picture.height // 8), Image.Resampling.NEAREST)
    assert picture.tobytes() == small.resize(picture.size, Image.Resampling.NEAREST).tobytes()


def test_a_studio_says_before_it_draws_that_there_is_no_vae(place: Path) -> None:
    with pytest.raises(TetradError, match=r"E5201.*bare.safetensors"):
        Studio(place / "bare.safetensors")
    with pytest.raises(TetradError, match="fp32, bf16 or fp16"):
        Studio(place / "cat.safetensors", vae_precision="fp8")
    assert Studio(place / "cat.safetensors", vae_precision="bf16").model.vae.dtype == torch.bfloat16
