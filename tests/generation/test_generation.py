"""Prompts, seeds, sheets."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image

from tetrad.data.images import to_image
from tetrad.errors import TetradError
from tetrad.generation import grids, png, prompts
from tetrad.generation.generate import pictures
from tetrad.generation.prompts import Network
from tetrad.generation.request import Request

SHORT = {"steps": 3, "sampler": "Euler a"}


def test_networks_are_taken_out_of_a_prompt_in_order() -> None:
    parsed = prompts.parsed("a  photo <lora:one:0.8> of zkr<lora:my file.v2> <lora:three:-1>")
    assert parsed.text.split() == ["a", "photo", "of", "zkr"]
    assert parsed.networks == (
        Network("lora", "one", 0.8, 0.8),
        Network("lora", "my file.v2", 1.0, 1.0),
        Network("lora", "three", -1.0, -1.0),
    )
    assert prompts.parsed("3 < 4 > 2").text == "3 < 4 > 2"


@pytest.mark.parametrize(
    "tag,text,unet",
    [
        ("<lora:x:0.5>", 0.5, 0.5),
        ("<lora:x:0.5:0.9>", 0.5, 0.9),
        ("<lora:x:te=0.5>", 0.5, 0.5),
        ("<lora:x:unet=0.9>", 1.0, 0.9),
        ("<lora:x:0.8:te=0.5>", 0.5, 0.5),
        ("<lora:x:te=0.5:unet=0.9>", 0.5, 0.9),
        ("<lora:x:0.8:unet=0>", 0.8, 0.0),
        ("<lyco:x: 0.5 >", 0.5, 0.5),
    ],
)
def test_the_two_strengths_of_a_lora_are_read_as_a1111_does(tag: str, text: float, unet: float) -> None:
    assert prompts.parsed(tag).networks == (Network("lora", "x", unet, text),)


@pytest.mark.parametrize(
    "prompt,code",
    [
        ("<lora:x:much>", "E3202"),
        ("<lora:x:1:1:1:1>", "E3202"),
        ("<lora:x:dyn=4>", "E3202"),
        ("<hypernet:x:inf>", "E3202"),
        ("<hypernet:x:te=1>", "E3202"),
        ("<lora::1>", "E3202"),
        ("<wildcard:x>", "E3202"),
        ("<lora:x:1000>", "E3204"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused(prompt: str, code: str) -> None:
    with pytest.raises(TetradError) as caught:
        prompts.parsed(prompt)
    assert caught.value.code == code


def test_a_comment_asks_for_nothing() -> None:
    assert prompts.parsed("a cat # <lora:none:1>\n<lora:x:1>").networks == (Network("lora", "x", 1.0, 1.0),)


@pytest.mark.parametrize(
    "prompt,negative,words",
    [
        ("a cat", "<lora:x:1>", "read as words"),
        ("a cat\nNegative prompt: a dog", "", "read as words"),
        ("a (cat at 10:30)", "", "'cat at 10' has the weight 30"),
        ("(cat:99999)", "", "1000 (no weight counts more)"),
        ("a", "(dog:-20)", "-20"),
        ("a AND b :50", "", "part 2 of AND"),
    ],
)
def test_what_may_be_meant_otherwise_is_told(prompt: str, negative: str, words: str) -> None:
    (told,) = prompts.doubts(Request(prompt, negative))
    assert words in told


def test_usual_prompts_raise_no_doubts() -> None:
    assert not list(prompts.doubts(Request("a (cat:1.5) [dog:0.5] <lora:x:1> AND b :0.5", "(bad:2) # <lora:x:1>")))


@pytest.mark.parametrize(
    "settings", [{"steps": "20"}, {"seed": 1.5}, {"cfg_scale": "7"}, {"prompt": None}, {"prompt": "\udcff"}]
)
def test_a_request_of_another_type_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(TetradError, match=r"must be|no text") as caught:
        Request(**{"prompt": "a cat"} | settings)
    assert caught.value.code == "E3203"


def test_a_batch_of_none_is_refused() -> None:
    with pytest.raises(TetradError, match="not 0"):
        next(pictures(tiny.model(), [Request("a cat")], 0))


def test_a_seed_is_the_same_picture_alone_and_in_company() -> None:
    model = tiny.model()
    asked = [Request(f"picture {n}", seed=n, **SHORT) for n in range(3)]
    together = list(pictures(model, asked))
    alone = [next(pictures(model, [request])) for request in asked]
    for one, other in zip(together, alone, strict=True):
        # Sums run in another order in a larger batch; a level of an 8-bit picture is 0.004.
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    assert torch.equal(alone[1], next(pictures(model, [asked[1]])))
    assert not torch.allclose(alone[0], alone[1], atol=1e-2)


def test_sizes_may_differ_within_one_call() -> None:
    asked = [Request("a", **SHORT), Request("b", width=96, height=64, **SHORT), Request("c", **SHORT)]
    assert [tuple(picture.shape) for picture in pictures(tiny.model(), asked)] == [
        (3, 64, 64),
        (3, 64, 96),
        (3, 64, 64),
    ]


@pytest.mark.parametrize("settings", [{"width": 65}, {"height": -8}, {"steps": 0}, {"cfg_scale": -1.0}])
def test_a_request_out_of_range_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(TetradError) as caught:
        Request("a", **settings)
    assert caught.value.code == "E3203"


def test_a_picture_carries_its_request(tmp_path: Path) -> None:
    request = Request("a zkr", negative="blur", seed=7, width=64, height=64)
    text = png.infotext(request, "a zkr <lora:x:1>", "models/base.safetensors")
    png.save(tmp_path / "x.png", Image.new("RGB", (8, 8)), text)
    assert Image.open(tmp_path / "x.png").text["parameters"] == (
        "a zkr <lora:x:1>\nNegative prompt: blur\n"
        "Steps: 30, Sampler: DPM++ 2M, Schedule type: Uniform, CFG scale: 7, Seed: 7, Size: 64x64, "
        "Model: base, RNG: CPU"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_levels_survive_the_file() -> None:
    levels = torch.arange(256).repeat(3, 2, 1) / 255
    drawn = to_image(levels)
    assert list(drawn.crop((0, 0, 256, 1)).tobytes())[::3] == list(range(256))


def test_a_sheet_shows_every_picture_where_it_belongs() -> None:
    colours = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 0)]]
    rows = [[Image.new("RGB", (64, 64), colour) for colour in row] for row in colours]
    paper = grids.sheet(rows, ["first", "second"], ["left", "right"], "title", cell=96)
    for row, row_colours in enumerate(colours):
        for column, colour in enumerate(row_colours):
            x, y = grids.MARGIN + column * (96 + grids.GAP) + 48, grids.HEAD + row * (96 + grids.GAP) + 48
            assert paper.getpixel((x, y)) == colour
