"""Tetrad from Python."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import tetrad
from tetrad import generate, load, train
from tetrad.errors import TetradError

SMALL = {"steps": 2, "width": 32, "height": 32}


def test_the_whole_way_in_python(tmp_path: Path) -> None:
    events: list[object] = []
    quick = {"train.steps": 1, "train.batch_size": 1, "sample.every": -1, "save.out": str(tmp_path)}
    file = train("lora", "builtin:subject", word="zkr", settings=quick, watch=events.append)
    assert file.is_file() and len(events) > 3
    model = load(lora_dir=tmp_path)
    pictures = generate("a zkr <lora:zkr:1>", model, count=2, seed=1, **SMALL)
    assert [picture.size for picture in pictures] == [(32, 32)] * 2
    assert pictures[0].tobytes() != pictures[1].tobytes()


def test_an_image_and_a_mask_are_drawn_over() -> None:
    image, mask = Image.new("RGB", (48, 32), "blue"), Image.new("L", (48, 32))
    mask.paste(255, (16, 0, 48, 32))
    (drawn,) = generate("a red apple", image=image, mask=mask, mask_blur=0, strength=1.0, steps=2)
    assert drawn.size == (48, 32)
    assert drawn.getpixel((4, 4)) == (0, 0, 255) != drawn.getpixel((40, 16))


def test_a_picture_may_be_a_file_and_doubts_are_warnings(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), "blue").save(tmp_path / "blue.png")
    with pytest.warns(UserWarning, match="weight 30"):
        (drawn,) = generate("an apple (at 10:30)", image=tmp_path / "blue.png", strength=0.0, steps=2)
    assert drawn.size == (32, 32)
    red, _, blue = drawn.getpixel((16, 16))
    assert blue > red  # at strength 0 it is the VAE's reconstruction


@pytest.mark.parametrize(
    "settings,code,words",
    [
        ({"stepps": 3}, "E3203", "did you mean steps"),
        ({"steps": "3"}, "E3203", "whole number"),
        ({"seed": "x"}, "E3203", "whole number"),
        ({"count": 0}, "E3203", "at least 1"),
        ({"strength": 0.5}, "E3206", "there is none"),
        ({"image": "gone.png"}, "E3251", "no such file"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_a_model_is_loaded(
    settings: dict[str, object], code: str, words: str
) -> None:
    with pytest.raises(TetradError, match=words) as caught:
        generate("an apple", "no model", **settings)
    assert caught.value.code == code


def test_importing_tetrad_imports_no_torch() -> None:
    code = "import sys, tetrad; from tetrad.cli import app; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(tetrad.FROM_PYTHON) == {"load", "generate", "train"}
