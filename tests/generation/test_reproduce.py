"""`tetrad generate --from`: the same files and the same init image, or an error or a warning."""

from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image

from tetrad import library
from tetrad.cli.generate import generate
from tetrad.errors import TetradError
from tetrad.generation import reproduce
from tetrad.images import png
from tetrad.images.infotext import Infotext, parse_infotext
from tetrad.weights import Weights

SMALL = {"steps": 2, "width": 32, "height": 32}


def with_parameters(**parameters: str) -> Infotext:
    return Infotext("a cat", "", {key.replace("_", " "): value for key, value in parameters.items()})


def pixels(path: Path) -> bytes:
    return Image.open(path).tobytes()


@pytest.mark.parametrize(
    "parsed,vae",
    [
        (with_parameters(VAE="a.pt", Version="v1.10.1"), "a.pt"),
        (with_parameters(Version="v1.10.1"), "Automatic"),  # older versions did not write the VAE
        (with_parameters(Version="tetrad 0.1.0"), "None"),
        (with_parameters(Version="tetrad 0.1.0", Bare_latents="True"), reproduce.BARE_LATENTS),
    ],
)
def test_the_vae_comes_from_the_infotext(parsed: Infotext, vae: str) -> None:
    assert reproduce.read_vae(parsed) == vae


def test_the_init_image_and_the_mask_must_be_given_again() -> None:
    img2img, masked = (
        with_parameters(Denoising_strength="0.5"),
        with_parameters(Denoising_strength="0.5", Mask_blur="4"),
    )
    hires = with_parameters(Denoising_strength="0.5", Hires_upscaler="Latent")
    for parsed, image, mask, words in ((img2img, None, None, "--init-image"), (masked, "x.png", None, "--mask")):
        with pytest.raises(TetradError, match=words) as caught:
            reproduce.check_init_image(parsed, "y.png", image, mask)
        assert caught.value.code == "E3206"
    reproduce.check_init_image(hires, "y.png", None, None)
    reproduce.check_init_image(img2img, "y.png", "x.png", None)
    reproduce.check_init_image(masked, "y.png", "x.png", "m.png")


def test_changed_files_are_reported_unless_their_flag_was_given() -> None:
    original = with_parameters(Model_hash="01", VAE_hash="02", Lora_hashes="ink: 03, wash: 04", TI_hashes="zkr: 05")
    reproduction = with_parameters(Model_hash="11", VAE_hash="02", Lora_hashes="ink: 13")
    sentences = " ".join(map(str, reproduce.find_differences(original, reproduction)))
    assert all(words in sentences for words in ("model", "LoRA ink", "no embedding zkr"))
    assert "VAE" not in sentences and "wash" not in sentences
    (difference,) = reproduce.find_differences(original, reproduction, ("model", "prompt"))
    assert difference.values == {"name": "ink", "found": "13", "expected": "03"}
    assert list(reproduce.find_differences(original, original)) == []


def test_an_image_from_before_2023_names_its_model_by_another_hash() -> None:
    original, reproduction = with_parameters(Model_hash="7460a6fa"), with_parameters(Model_hash="fe4efff1e1")
    assert list(reproduce.find_differences(original, reproduction, (), {"7460a6fa", "fe4efff1e1"})) == []
    assert len(list(reproduce.find_differences(original, reproduction, (), {"fe4efff1e1"}))) == 1


def test_the_vae_the_init_image_and_the_mask_blur_are_reproduced(tmp_path: Path) -> None:
    """The VAE and the mask blur come from the infotext; another init image gives a warning."""
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
    over = {"models_dir": tmp_path, "init_image": start, "mask": mask}
    generate("an apple", vae="odd", mask_blur=2, denoising_strength=0.8, out=first, **over, **SMALL)
    generate("an apple", mask_blur=2, denoising_strength=0.8, out=plain, **over, **SMALL)
    generate(png_info=first, out=again, **over)
    assert pixels(first) == pixels(again) != pixels(plain)
    assert png.read_infotext(first) == png.read_infotext(again)
    generate(png_info=first, out=other, models_dir=tmp_path, init_image=first, mask=mask)
    (difference,) = reproduce.find_differences(*(parse_infotext(png.read_infotext(path)) for path in (first, other)))
    assert "init image" in str(difference)


def test_bare_latents_are_reproduced(tmp_path: Path) -> None:
    generate("an apple", no_vae=True, out=tmp_path / "bare.png", **SMALL)
    generate(png_info=tmp_path / "bare.png", out=tmp_path / "again.png")
    assert pixels(tmp_path / "bare.png") == pixels(tmp_path / "again.png")


def test_a_model_that_is_not_found_must_be_given(tmp_path: Path) -> None:
    text = "a cat\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 3, Size: 32x32, Model: gone"
    png.save_png(tmp_path / "x.png", Image.new("RGB", (8, 8)), text)
    with pytest.raises(TetradError, match="--model") as caught:
        generate(png_info=tmp_path / "x.png", out=tmp_path / "y.png")
    assert caught.value.code == "E5160"


def test_a_model_in_the_current_folder_is_found_by_the_name_in_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.save_checkpoint(Path("small.v1.safetensors"), tiny.build_model(is_shallow=True), {}, "fp32")
    generate("a cat", model="small.v1.safetensors", out=Path("a.png"), **SMALL)
    generate(png_info=Path("a.png"), out=Path("b.png"))
    assert pixels(Path("a.png")) == pixels(Path("b.png"))
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir("inner")
    for name in ("../small.v1", str(tmp_path / "small.v1")):
        text = f"a cat\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 3, Size: 32x32, Model: {name}"
        png.save_png(tmp_path / "x.png", Image.new("RGB", (8, 8)), text)
        with pytest.raises(TetradError, match="E5160"):
            generate(png_info=tmp_path / "x.png", out=tmp_path / "y.png")


def test_a_different_model_file_with_the_same_name_gives_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    tiny.save_checkpoint(folder / "small.safetensors", tiny.build_model(is_shallow=True), {}, "fp32")
    generate("a cat", model="small", models_dir=tmp_path, out=tmp_path / "a.png", **SMALL)
    generate(png_info=tmp_path / "a.png", models_dir=tmp_path, out=tmp_path / "b.png")
    assert "W3201" not in capsys.readouterr().err
    tiny.save_checkpoint(folder / "small.safetensors", tiny.build_model(is_shallow=True), {}, "fp16")
    generate(png_info=tmp_path / "a.png", models_dir=tmp_path, out=tmp_path / "c.png")
    warnings = capsys.readouterr().err
    assert "W3201 a.png" in warnings and "the model is a different file" in warnings
