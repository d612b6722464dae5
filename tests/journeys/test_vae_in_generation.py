"""The VAE in `tetrad generate`: missing, mounted, or in half precision, with the error or warning for each."""

from pathlib import Path
from subprocess import CompletedProcess

import commands
import pytest
import tiny
import tiny_vaes
import torch
from PIL import Image

from tetrad import library
from tetrad.errors import TetradError
from tetrad.formats import file_hashes, ldm, weight_files
from tetrad.generation.pipeline import Pipeline
from tetrad.images import png


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, the same model without a VAE, and in a folder a VAE for it whose decoder overflows in half precision."""
    path = tmp_path_factory.mktemp("models")
    whole, metadata = ldm.encode(tiny.build_weights(is_shallow=True)), tiny.build_weights(is_shallow=True).metadata
    weight_files.write_safetensors(path / "cat.safetensors", whole, metadata)
    bare = {name: tensor for name, tensor in whole.items() if not name.startswith(ldm.VAE_PREFIX)}
    weight_files.write_safetensors(path / "bare.safetensors", bare, metadata)
    own = {
        name: tensor.clone()
        for name, tensor in tiny.build_weights(is_shallow=True).tensors.items()
        if name.startswith("vae.")
    }
    own["vae.decoder.up_blocks.0.resnets.0.conv1.weight"] *= 1e7
    (path / "vaes").mkdir()
    library.save_vae(path / "vaes" / "big.safetensors", tiny_vaes.Weights("vae", own), metadata)
    return path


def generate(workspace: Path, *arguments: str) -> "CompletedProcess[str]":
    return commands.run("generate", "a cat", "--steps", "1", *arguments, cwd=workspace)


def test_an_image_decoded_by_a_vae_of_a_folder_in_half_precision(workspace: Path) -> None:
    vae = ("--vae-dir", "vaes", "--vae", "big")
    done = generate(workspace, "--model", "cat.safetensors", *vae, "--vae-precision", "fp16", "--out", "half.png")
    assert done.returncode == 0, done.stderr
    assert "VAE: big.safetensors, because it was chosen by name" in done.stderr
    assert "W3203" in done.stderr and "float16" in done.stderr
    file_hash = file_hashes.compute_file_hash(workspace / "vaes" / "big.safetensors")[:10]
    text = png.read_infotext(workspace / "half.png")
    assert f"VAE hash: {file_hash}" in text and "VAE: big.safetensors" in text


def test_without_a_vae_generation_is_an_error_unless_no_vae_is_given(workspace: Path) -> None:
    done = generate(workspace, "--model", "bare.safetensors", "--out", "none.png")
    assert done.returncode == 5
    _device, error = done.stderr.splitlines()
    assert error.startswith("E5201")
    assert all(remedy in done.stderr for remedy in (".vae.safetensors", "VAE folder", "--vae", "--no-vae"))
    assert not (workspace / "none.png").exists()
    done = generate(workspace, "--model", "bare.safetensors", "--no-vae", "--out", "noise.png")
    assert done.returncode == 0, done.stderr
    image = Image.open(workspace / "noise.png")
    small = image.resize((image.width // 8, image.height // 8), Image.Resampling.NEAREST)
    assert image.tobytes() == small.resize(image.size, Image.Resampling.NEAREST).tobytes()


def test_a_pipeline_without_a_vae_or_with_an_unknown_precision_is_an_error(workspace: Path) -> None:
    with pytest.raises(TetradError, match=r"E5201.*bare.safetensors"):
        Pipeline(workspace / "bare.safetensors")
    with pytest.raises(TetradError, match="fp8"):
        Pipeline(workspace / "cat.safetensors", vae_precision="fp8")
    assert Pipeline(workspace / "cat.safetensors", vae_precision="bf16").model.vae.dtype == torch.bfloat16
