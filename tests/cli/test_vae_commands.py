"""`tetrad vae`: each command on small files, what it says, what it leaves, what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import tiny_vaes
import torch
from PIL import Image
from safetensors.torch import load_file

from tetrad import library
from tetrad.builtin import MODEL_PATH, resolve_model_path
from tetrad.cli import vae
from tetrad.errors import TetradError
from tetrad.formats import file_hashes, ldm, weight_files
from tetrad.images.load import load_image
from tetrad.images.tensors import to_tensor
from tetrad.library.vae.latents import SCALING_FACTOR_KEY, read_latents
from tetrad.models import FAMILIES, latent_space

PICTURE = next(iter(sorted((MODEL_PATH.parent / "person").glob("*.png"))))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint in half precision, with a name and a number of its own."""
    path = tmp_path_factory.mktemp("models") / "cat.safetensors"
    weights = tiny.build_weights(is_shallow=True)
    tensors = {name: tensor.half() for name, tensor in ldm.encode(weights).items()}
    tensors["betas"] = torch.full((3,), torch.nan)  # what is no number must come through bit for bit too
    weight_files.write_safetensors(path, tensors, weights.metadata | {"title": "mine"})
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE for that checkpoint, its decoder another."""
    found = {
        name: tensor.clone()
        for name, tensor in tiny.build_weights(is_shallow=True).tensors.items()
        if name.startswith("vae.")
    }
    found["vae.decoder.conv_out.bias"] += 0.25
    path = tmp_path_factory.mktemp("vaes") / "warm.safetensors"
    library.save_vae(
        path,
        tiny_vaes.Weights("vae", found),
        {k: v for k, v in tiny.build_weights(is_shallow=True).metadata.items() if "arch" in k},
    )
    return path


def test_help_loads_no_torch() -> None:
    program = "import sys; from tetrad.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    for arguments in (["vae", "--help"], ["vae", "compare", "--help"]):
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
        assert done.returncode == 0 and "vae" in done.stdout.lower(), done.stderr


def test_show_names_the_rule_the_family_and_the_hash(
    checkpoint: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vae.show(str(checkpoint))
    said = capsys.readouterr().out
    assert "Stable Diffusion 1" in said and "a VAE, weights hash" in said and "the checkpoint's own" in said
    vae.show(str(checkpoint), vae=str(other))
    said = capsys.readouterr().out
    assert str(other) in said and file_hashes.compute_file_hash(other)[:10] in said and "float32" in said
    vae.show(str(other))
    assert "weights hash" not in capsys.readouterr().out
    folder = tiny_vaes.save_folder(tmp_path / "vae", tiny_vaes.diffusers_tensors(), scaling_factor=0.13025)
    vae.show(str(folder))
    assert "Stable Diffusion XL: its configuration" in capsys.readouterr().out


def test_show_of_a_checkpoint_without_a_vae_names_the_ways(
    checkpoint: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = {name: tensor for name, tensor in load_file(checkpoint).items() if not name.startswith(ldm.VAE_PREFIX)}
    weight_files.write_safetensors(tmp_path / "bare.safetensors", tensors, {})
    with pytest.raises(TetradError, match="--vae") as caught:
        vae.show(str(tmp_path / "bare.safetensors"))
    assert caught.value.code == "E5201" and "bare.safetensors" in caught.value.message
    assert "inside     no VAE\nVAE used   none" in capsys.readouterr().out
    (tmp_path / "bare.vae.safetensors").write_bytes(other.read_bytes())
    vae.show(str(tmp_path / "bare.safetensors"))


def test_a_picture_becomes_latents_and_a_picture_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = load_image(PICTURE).crop((3, 5, 103, 120))
    image.save(tmp_path / "a.png")
    vae.encode(tmp_path / "a.png")
    said = capsys.readouterr()
    assert "96 × 112" in said.err and said.out.strip() == str(tmp_path / "a.latent.safetensors")
    opened = library.open_checkpoint_vae("builtin")
    pixels = to_tensor(image.crop((2, 1, 98, 113)))
    latents = load_file(tmp_path / "a.latent.safetensors")
    assert torch.equal(latents["mean"], opened.vae.encode(pixels[None])[0][0])
    (tmp_path / "a.png").unlink()
    vae.decode(tmp_path / "a.latent.safetensors")
    decoded = to_tensor(Image.open(tmp_path / "a.png"))
    assert (decoded - opened.vae.decode(latents["mean"][None])[0]).abs().max() < 0.003


def test_latents_of_another_family_are_refused(tmp_path: Path) -> None:
    z = {"mean": torch.zeros(4, 2, 2), "std": torch.ones(4, 2, 2)}
    about = {SCALING_FACTOR_KEY: "0.13025", "tetrad.latent.family": "Stable Diffusion XL"}
    weight_files.write_safetensors(tmp_path / "xl.safetensors", z, about)
    weight_files.write_safetensors(tmp_path / "none.safetensors", {"a": torch.zeros(1)}, {})
    for name, words in (("xl", "latents of Stable Diffusion XL"), ("none", "not a latent file")):
        with pytest.raises(TetradError, match=words) as caught:
            vae.decode(tmp_path / f"{name}.safetensors", out=tmp_path / "x.png")
        assert caught.value.code == "E5207"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "image"])
def test_an_image_is_no_latent_file_and_the_error_says_how_to_make_one(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / name, "PNG")
    with pytest.raises(TetradError, match="is an image, not a latent file; `tetrad vae encode IMAGE`") as caught:
        vae.decode(tmp_path / name, out=tmp_path / "x.png")
    assert caught.value.code == "E5207"


def test_compare_draws_one_sheet_and_says_its_numbers(
    checkpoint: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vae.compare(PICTURE, ["None", str(other)], str(checkpoint), out=tmp_path / "sheet.png")
    said = capsys.readouterr().out
    assert said.count("PSNR") == 2 and "warm.safetensors: " in said and "saturation" in said
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 3 * 256 and sheet.height > 2 * 256


def test_baking_changes_the_vae_and_nothing_else(
    checkpoint: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "baked.safetensors"
    vae.bake(str(checkpoint), str(other), out=out)
    assert "1 tensor of the VAE was changed" in capsys.readouterr().err
    before, after = weight_files.read_weight_file(checkpoint), weight_files.read_weight_file(out)
    assert after.metadata == before.metadata | {"tetrad.vae": "warm.safetensors"}
    differs = [name for name in before.tensors if not same_bits(before.tensors[name], after.tensors[name])]
    assert differs == ["first_stage_model.decoder.conv_out.bias"] and before.tensors.keys() == after.tensors.keys()
    assert {tensor.dtype for name, tensor in after.tensors.items() if name != "betas"} == {torch.float16}
    library.load_model(str(out))


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.view(torch.uint8), other.view(torch.uint8))


def test_baking_into_a_checkpoint_without_a_vae_gives_it_one(checkpoint: Path, other: Path, tmp_path: Path) -> None:
    whole = weight_files.read_weight_file(checkpoint)
    bare = {name: tensor for name, tensor in whole.tensors.items() if not name.startswith(ldm.VAE_PREFIX)}
    torch.save({"state_dict": bare}, tmp_path / "bare.ckpt")
    library.bake_vae(tmp_path / "bare.ckpt", checkpoint, tmp_path / "again.safetensors")
    again = weight_files.read_weight_file(tmp_path / "again.safetensors").tensors
    assert again.keys() == whole.tensors.keys()
    assert all(same_bits(again[name], tensor) for name, tensor in whole.tensors.items())


def test_what_is_extracted_is_what_was_baked(checkpoint: Path, tmp_path: Path) -> None:
    vae.extract(str(checkpoint), out=tmp_path / "own.safetensors")
    found = load_file(tmp_path / "own.safetensors")
    wanted = {
        n.removeprefix(f"{ldm.VAE_PREFIX}."): t
        for n, t in load_file(checkpoint).items()
        if n.startswith(ldm.VAE_PREFIX)
    }
    assert found.keys() == wanted.keys() and all(same_bits(found[name], wanted[name]) for name in wanted)
    vae.bake(str(checkpoint), str(tmp_path / "own.safetensors"), out=tmp_path / "same.safetensors")
    before, after = load_file(checkpoint), load_file(tmp_path / "same.safetensors")
    assert before.keys() == after.keys() and all(same_bits(tensor, after[name]) for name, tensor in before.items())


def test_a_vae_of_other_widths_is_not_baked(checkpoint: Path, tmp_path: Path) -> None:
    library.extract_vae(resolve_model_path("builtin"), tmp_path / "wide.safetensors")
    with pytest.raises(TetradError) as caught:
        library.bake_vae(checkpoint, tmp_path / "wide.safetensors", tmp_path / "out.safetensors")
    assert caught.value.code == "E5204" and not (tmp_path / "out.safetensors").exists()


def test_no_command_writes_over_a_file_or_into_nowhere(checkpoint: Path, other: Path, tmp_path: Path) -> None:
    (tmp_path / "there.safetensors").write_bytes(b"mine")
    for out in (tmp_path / "there.safetensors", tmp_path / "no" / "a.safetensors", tmp_path / "a.ckpt"):
        for command in (
            lambda out: vae.bake(str(checkpoint), str(other), out=out),
            lambda out: vae.extract(str(checkpoint), out=out),
        ):
            with pytest.raises(TetradError) as caught:
                command(out)
            assert caught.value.code == "E5210"
    assert (tmp_path / "there.safetensors").read_bytes() == b"mine"


def test_a_picture_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    for path, code in ((tmp_path / "a.png", "E4101"), (tmp_path / "b.png", "E4001")):
        with pytest.raises(TetradError) as caught:
            vae.encode(path)
        assert caught.value.code == code and path.name in caught.value.message


def test_a_web_uis_folders_count_as_they_do_there(
    checkpoint: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models" / "VAE"
    folder.mkdir(parents=True)
    (folder / "category.safetensors").write_bytes(other.read_bytes())
    vae.show(str(checkpoint), models_dir=tmp_path)
    said = capsys.readouterr()
    assert "its name begins with that of the checkpoint (cat)" in said.out and "warning: the VAE" in said.err


def test_latents_have_their_familys_scale(tmp_path: Path) -> None:
    weights = tiny.build_weights(family="sdxl")
    weight_files.write_safetensors(
        tmp_path / "xl.safetensors", ldm.encode(weights, FAMILIES["sdxl"].single_file), weights.metadata
    )
    opened = library.open_checkpoint_vae(str(tmp_path / "xl.safetensors"))
    assert opened.vae.scaling_factor == 0.13025 and opened.family_title == "Stable Diffusion XL"
    vae.encode(PICTURE, str(tmp_path / "xl.safetensors"), out=tmp_path / "a.safetensors")
    with pytest.raises(TetradError, match="give a model of Stable Diffusion XL"):
        vae.decode(tmp_path / "a.safetensors")


def test_a_model_and_a_vae_are_found_by_their_names(
    checkpoint: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, path in (("Stable-diffusion", checkpoint), ("VAE", other)):
        (tmp_path / "ui" / "models" / folder).mkdir(parents=True)
        (tmp_path / "ui" / "models" / folder / path.name).write_bytes(path.read_bytes())
    vae.show("cat", vae="Warm", models_dir=tmp_path / "ui", as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["VAE used"] == "warm.safetensors, because it was chosen by name" and said["precision"] == "float32"
    vae.bake("cat", "warm", models_dir=tmp_path / "ui")
    vae.extract("cat", models_dir=tmp_path / "ui")
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {"cat-warm.safetensors", "cat-vae.safetensors"}
    with pytest.raises(TetradError, match="None stands for") as caught:
        vae.bake("cat", "None", models_dir=tmp_path / "ui")
    assert caught.value.code == "E5206"


def test_half_precision_that_overflows_is_said_and_the_picture_is_that_of_float32(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {name: tensor.float() for name, tensor in library.read_vae(checkpoint).tensors.items()}
    found["vae.decoder.up_blocks.0.resnets.0.conv1.weight"] *= 1e7
    about = {key: value for key, value in weight_files.read_safetensors_metadata(checkpoint).items() if "arch" in key}
    library.save_vae(tmp_path / "big.safetensors", tiny_vaes.Weights("vae", found), about)
    for precision in ("fp32", "fp16"):
        vae.compare(
            PICTURE,
            [str(tmp_path / "big.safetensors")],
            str(checkpoint),
            precision=precision,
            out=tmp_path / f"{precision}.png",
        )
    said = capsys.readouterr()
    exact, half = (line for line in said.out.splitlines() if "PSNR" in line)
    assert said.err.count("could not decode in float16") == 1 and exact.split(",")[0] == half.split(",")[0]
    with pytest.raises(TetradError, match="fp32, bf16 or fp16, not fp8") as caught:
        vae.encode(PICTURE, str(checkpoint), precision="fp8", out=tmp_path / "x.safetensors")
    assert caught.value.code == "E3103"


def test_latents_of_comfyui_are_read(checkpoint: Path, tmp_path: Path) -> None:
    opened = library.open_checkpoint_vae(str(checkpoint))
    mean, _ = opened.encode(to_tensor(load_image(PICTURE))[None])
    for name, tensor, more in (
        ("new", mean / opened.vae.scaling_factor, {"latent_format_version_0": torch.zeros(0)}),
        ("oldest", mean * 0.18215 / opened.vae.scaling_factor, {}),
    ):
        weight_files.write_safetensors(tmp_path / f"{name}.latent", {"latent_tensor": tensor, **more}, {})
        torch.testing.assert_close(read_latents(tmp_path / f"{name}.latent", opened), mean[0])


@pytest.mark.parametrize(
    ("mean", "words"),
    [
        (torch.full((4, 2, 2), torch.nan), "NaN"),
        (torch.zeros(4, 0, 2), "latents of (4, 0, 2)"),
        (torch.zeros(16, 2, 2), "latents of (16, 2, 2)"),
        (torch.zeros(()), "latents of ()"),
    ],
)
def test_latents_that_cannot_be_are_a_sentence(mean: torch.Tensor, words: str, tmp_path: Path) -> None:
    weight_files.write_safetensors(tmp_path / "a.safetensors", {"mean": mean}, {SCALING_FACTOR_KEY: "0.18215"})
    with pytest.raises(TetradError) as caught:
        read_latents(tmp_path / "a.safetensors", library.open_checkpoint_vae("builtin"))
    assert caught.value.code == "E5207" and words in caught.value.message


def test_a_vae_that_makes_no_numbers_of_a_picture_is_named(checkpoint: Path, tmp_path: Path) -> None:
    found = {name: tensor.float() for name, tensor in library.read_vae(checkpoint).tensors.items()}
    found["vae.encoder.conv_in.weight"] *= 1e38
    about = {key: value for key, value in weight_files.read_safetensors_metadata(checkpoint).items() if "arch" in key}
    library.save_vae(tmp_path / "big.safetensors", tiny_vaes.Weights("vae", found), about)
    with pytest.raises(TetradError, match="outputs NaN or Inf") as caught:
        vae.encode(PICTURE, str(checkpoint), str(tmp_path / "big.safetensors"), out=tmp_path / "x.safetensors")
    assert caught.value.code == "E5202" and not (tmp_path / "x.safetensors").exists()


def test_a_vae_of_the_other_family_inside_a_checkpoint_is_noticed(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(latent_space, "detect_space_by_colours", lambda _: latent_space.XL_SPACE)
    vae.show(str(checkpoint))
    assert "the VAE inside cat.safetensors seems to be for Stable Diffusion XL" in capsys.readouterr().err
