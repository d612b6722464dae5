"""A picture drawn again by what is written in it: with the same files, over the same picture, or told otherwise."""

from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image

from tetrad import library
from tetrad.cli.generate import generate
from tetrad.errors import TetradError
from tetrad.generation import infotext, png, repeat
from tetrad.generation.infotext import Infotext
from tetrad.weights import Weights

SMALL = {"steps": 2, "width": 32, "height": 32}


def facts(**said: str) -> Infotext:
    return Infotext("a cat", "", {key.replace("_", " "): value for key, value in said.items()})


def pixels(path: Path) -> bytes:
    return Image.open(path).tobytes()


@pytest.mark.parametrize(
    "found,vae",
    [
        (facts(VAE="a.pt", Version="v1.10.1"), "a.pt"),
        (facts(Version="v1.10.1"), "Automatic"),  # its files may have been there without a word
        (facts(Version="tetrad 0.1.0"), "None"),
        (facts(Version="tetrad 0.1.0", Bare_latents="True"), repeat.BARE),
    ],
)
def test_the_vae_is_the_one_it_was_drawn_with(found: Infotext, vae: str) -> None:
    assert repeat.vae(found) == vae


def test_what_a_picture_was_drawn_over_must_be_given_again() -> None:
    over, masked = facts(Denoising_strength="0.5"), facts(Denoising_strength="0.5", Mask_blur="4")
    hires = facts(Denoising_strength="0.5", Hires_upscaler="Latent")
    for found, image, mask, words in ((over, None, None, "--image"), (masked, "x.png", None, "--mask")):
        with pytest.raises(TetradError, match=words) as caught:
            repeat.check_start(found, "y.png", image, mask)
        assert caught.value.code == "E3206"
    repeat.check_start(hires, "y.png", None, None)
    repeat.check_start(over, "y.png", "x.png", None)
    repeat.check_start(masked, "y.png", "x.png", "m.png")


def test_other_files_of_the_same_names_are_told_but_not_what_was_asked_for() -> None:
    then = facts(Model_hash="01", VAE_hash="02", Lora_hashes="ink: 03, wash: 04", TI_hashes="zkr: 05")
    now = facts(Model_hash="11", VAE_hash="02", Lora_hashes="ink: 13")
    told = " ".join(repeat.differences(then, now))
    assert all(words in told for words in ("model", "LoRA ink", "no embedding called zkr"))
    assert "VAE" not in told and "wash" not in told
    assert list(repeat.differences(then, now, ("model", "prompt"))) == [
        "the LoRA ink is another file, 13 instead of 03"
    ]
    assert list(repeat.differences(then, then)) == []


def test_a_vae_and_a_start_are_repeated_to_the_pixel(tmp_path: Path) -> None:
    """The VAE by the name in the picture, the mask's blur by the number there; another picture is told."""
    model = library.load_model("builtin")
    with torch.no_grad():
        for parameter in model.vae.network.decoder.parameters():
            parameter += 0.05
    tensors = {name: tensor for name, tensor in model.weights().tensors.items() if name.startswith("vae.")}
    (tmp_path / "models" / "VAE").mkdir(parents=True)
    library.save_vae(tmp_path / "models" / "VAE" / "odd.safetensors", Weights("vae", tensors, {}), {})
    start, mask = tmp_path / "start.png", tmp_path / "mask.png"
    Image.linear_gradient("L").convert("RGB").resize((32, 32)).save(start)
    half = Image.new("L", (32, 32))
    half.paste(255, (16, 0, 32, 32))
    half.save(mask)

    first, plain, again, other = (tmp_path / f"{name}.png" for name in ("first", "plain", "again", "other"))
    over = {"models_dir": tmp_path, "image": start, "mask": mask}
    generate("an apple", vae="odd", mask_blur=2, strength=0.8, out=first, **over, **SMALL)
    generate("an apple", mask_blur=2, strength=0.8, out=plain, **over, **SMALL)
    generate(from_=first, out=again, **over)
    assert pixels(first) == pixels(again) != pixels(plain)
    assert png.parameters(first) == png.parameters(again)
    generate(from_=first, out=other, models_dir=tmp_path, image=first, mask=mask)
    told = list(repeat.differences(*(infotext.read(png.parameters(path)) for path in (first, other))))
    assert len(told) == 1 and "the picture drawn over is another one" in told[0]


def test_bare_latents_are_repeated(tmp_path: Path) -> None:
    generate("an apple", no_vae=True, out=tmp_path / "bare.png", **SMALL)
    generate(from_=tmp_path / "bare.png", out=tmp_path / "again.png")
    assert pixels(tmp_path / "bare.png") == pixels(tmp_path / "again.png")


def test_a_model_that_is_not_here_is_asked_for(tmp_path: Path) -> None:
    text = "a cat\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 3, Size: 32x32, Model: gone"
    png.save(tmp_path / "x.png", Image.new("RGB", (8, 8)), text)
    with pytest.raises(TetradError, match="--model") as caught:
        generate(from_=tmp_path / "x.png", out=tmp_path / "y.png")
    assert caught.value.code == "E5160"


def test_another_file_under_a_models_name_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    library.save_checkpoint(folder / "small.safetensors", tiny.model(), {}, "fp32")
    generate("a cat", model="small", models_dir=tmp_path, out=tmp_path / "a.png", **SMALL)
    generate(from_=tmp_path / "a.png", models_dir=tmp_path, out=tmp_path / "b.png")
    assert "W3201" not in capsys.readouterr().err
    library.save_checkpoint(folder / "small.safetensors", tiny.model(), {}, "fp16")
    generate(from_=tmp_path / "a.png", models_dir=tmp_path, out=tmp_path / "c.png")
    assert "W3201 a.png was not repeated exactly: the model is another one" in capsys.readouterr().err
