"""Tetrad from Python: load, generate, train."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import tetrad
from tetrad import generate, load, train
from tetrad.errors import TetradError

SMALL = {"steps": 2, "width": 32, "height": 32}


def test_train_load_and_generate(tmp_path: Path) -> None:
    events: list[object] = []
    quick = {"train.steps": 1, "train.batch_size": 1, "sample.every": -1, "save.out": str(tmp_path)}
    file = train("lora", "builtin:subject", trigger_word="zkr", settings=quick, on_event=events.append)
    assert file.is_file() and len(events) > 3
    model = load(lora_dir=tmp_path)
    images = generate("a zkr <lora:zkr:1>", model, num_images=2, seed=1, **SMALL)
    assert [image.size for image in images] == [(32, 32)] * 2
    assert images[0].tobytes() != images[1].tobytes()


def test_img2img_with_a_mask_keeps_the_rest_of_the_image() -> None:
    init_image, mask = Image.new("RGB", (48, 32), "blue"), Image.new("L", (48, 32))
    mask.paste(255, (16, 0, 48, 32))
    (image,) = generate("a red apple", init_image=init_image, mask=mask, mask_blur=0, denoising_strength=1.0, steps=2)
    assert image.size == (48, 32)
    assert image.getpixel((4, 4)) == (0, 0, 255) != image.getpixel((40, 16))


def test_the_init_image_may_be_a_file_and_prompt_warnings_are_python_warnings(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), "blue").save(tmp_path / "blue.png")
    with pytest.warns(UserWarning, match="weight 30"):
        (image,) = generate("an apple (at 10:30)", init_image=tmp_path / "blue.png", denoising_strength=0.0, steps=2)
    assert image.size == (32, 32)
    red, _, blue = image.getpixel((16, 16))
    assert blue > red  # at denoising strength 0 the image is the VAE reconstruction


def test_a_word_that_the_builtin_model_does_not_know_is_a_python_warning() -> None:
    with pytest.warns(UserWarning, match="does not know 'castle'"):
        generate("a castle", **SMALL)


@pytest.mark.parametrize(
    "settings,code,words",
    [
        ({"stepps": 3}, "E3203", "did you mean steps"),
        ({"steps": "3"}, "E3203", "whole number"),
        ({"seed": "x"}, "E3203", "whole number"),
        ({"num_images": 0}, "E3203", "at least 1"),
        ({"denoising_strength": 0.5}, "E3206", "--init-image"),
        ({"init_image": "gone.png"}, "E3251", "does not exist"),
    ],
)
def test_invalid_settings_are_refused_before_the_model_is_loaded(
    settings: dict[str, object], code: str, words: str
) -> None:
    with pytest.raises(TetradError, match=words) as caught:
        generate("an apple", "no model", **settings)
    assert caught.value.code == code


def test_importing_tetrad_imports_no_torch() -> None:
    code = "import sys; from tetrad.cli import program; program.build_program(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    merges = {"merge_checkpoints", "merge_loras", "merge_loras_into", "merge_embeddings", "merge_hypernetworks"}
    files = {"extract_lora", "resize_lora", "convert", "verify", "diff", "install", "uninstall"}
    entrances = {"load", "generate", "train", "resume", "scan", "compare", "CaptionFolder"}
    assert set(tetrad.FROM_PYTHON) == entrances | merges | files
