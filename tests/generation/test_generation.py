"""Network tags, prompt warnings, requests, seeds and contact sheets."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image

from tetrad import __version__
from tetrad.errors import TetradError
from tetrad.generation import infotext, prompt_networks
from tetrad.generation.generate import generate_images
from tetrad.generation.prompt_networks import NetworkTag
from tetrad.generation.request import Request
from tetrad.images import contact_sheet, png
from tetrad.images.tensors import to_image

SHORT = {"steps": 3, "sampler": "Euler a"}


def test_network_tags_are_removed_from_the_prompt_and_kept_in_order() -> None:
    parsed = prompt_networks.extract_networks("a  photo <lora:one:0.8> of zkr<lora:my file.v2> <lora:three:-1>")
    assert parsed.text.split() == ["a", "photo", "of", "zkr"]
    assert parsed.networks == (
        NetworkTag("lora", "one", 0.8, 0.8),
        NetworkTag("lora", "my file.v2", 1.0, 1.0),
        NetworkTag("lora", "three", -1.0, -1.0),
    )
    assert prompt_networks.extract_networks("3 < 4 > 2").text == "3 < 4 > 2"


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
def test_a_lora_tag_has_a_text_encoder_and_a_unet_strength_as_in_a1111(tag: str, text: float, unet: float) -> None:
    assert prompt_networks.extract_networks(tag).networks == (NetworkTag("lora", "x", unet, text),)


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
def test_an_invalid_network_tag_is_refused(prompt: str, code: str) -> None:
    with pytest.raises(TetradError) as caught:
        prompt_networks.extract_networks(prompt)
    assert caught.value.code == code


def test_a_network_tag_in_a_comment_is_ignored() -> None:
    assert prompt_networks.extract_networks("a cat # <lora:none:1>\n<lora:x:1>").networks == (
        NetworkTag("lora", "x", 1.0, 1.0),
    )


@pytest.mark.parametrize(
    "prompt,tags",
    [
        ("[<lora:good:0.9>:<lora:good:1.0>:0.2]", ["<lora:good:0.9>", "<lora:good:1.0>"]),
        ("a cat [with <lora:ink:1>:0.5]", ["<lora:ink:1>"]),
        ("a cat [<hypernet:ink:1>::9]", ["<hypernet:ink:1>"]),
        ("[a cat|(a [dog:<lora:ink:1> wolf:0.5]:1.2)]", ["<lora:ink:1>"]),
        ("a cat AND [dog|<lora:ink:1>] :0.5", ["<lora:ink:1>"]),
        ("<lora:ink:1> [cat:dog:0.5] (a <lora:wash:1>:1.2) [<lora:dry:1>]", []),
        ("# [<lora:ink:1>:0.5]", []),
    ],
)
def test_a_network_inside_an_edit_is_named(prompt: str, tags: list[str]) -> None:
    warnings = [str(each) for each in prompt_networks.prompt_warnings(Request(prompt))]
    assert [warning.split(" is inside")[0] for warning in warnings] == tags
    assert (
        sum(each.strength for each in prompt_networks.extract_networks("[<lora:a:0.9>:<lora:a:1>:0.2]").networks) == 1.9
    )


@pytest.mark.parametrize(
    "prompt,negative_prompt,words",
    [
        ("a cat", "<lora:x:1>", "read as plain text"),
        ("a cat\nNegative prompt: a dog", "", "read as plain text"),
        ("a (cat at 10:30)", "", "'cat at 10' has weight 30"),
        ("(cat:99999)", "", "1000 (the maximum is 1000)"),
        ("a", "(dog:-20)", "-20"),
        ("a AND b :50", "", "part 2"),
    ],
)
def test_a_prompt_that_is_easily_misread_gives_one_warning(prompt: str, negative_prompt: str, words: str) -> None:
    (warning,) = prompt_networks.prompt_warnings(Request(prompt, negative_prompt))
    assert words in str(warning)


def test_ordinary_prompts_give_no_warning() -> None:
    assert not list(
        prompt_networks.prompt_warnings(Request("a (cat:1.5) [dog:0.5] <lora:x:1> AND b :0.5", "(bad:2) # <lora:x:1>"))
    )


@pytest.mark.parametrize(
    "settings", [{"steps": "20"}, {"seed": 1.5}, {"cfg_scale": "7"}, {"prompt": None}, {"prompt": "\udcff"}]
)
def test_a_setting_of_the_wrong_type_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(TetradError) as caught:
        Request(**{"prompt": "a cat"} | settings)
    assert caught.value.code == "E3203" and caught.value.sentence.values["name"] in settings


def test_a_batch_size_of_zero_is_refused() -> None:
    with pytest.raises(TetradError, match="E3203"):
        next(generate_images(tiny.build_model(is_shallow=True), [Request("a cat")], 0))


def test_a_seed_gives_the_same_image_alone_and_in_a_batch() -> None:
    model = tiny.build_model(is_shallow=True)
    requests = [Request(f"image {n}", seed=n, **SHORT) for n in range(3)]
    batched = list(generate_images(model, requests))
    alone = [next(generate_images(model, [request])) for request in requests]
    for one, other in zip(batched, alone, strict=True):
        # A larger batch adds in another order; one level of an 8-bit image is 0.004.
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    assert torch.equal(alone[1], next(generate_images(model, [requests[1]])))
    assert not torch.allclose(alone[0], alone[1], atol=1e-2)


def test_one_call_can_generate_images_of_different_sizes() -> None:
    requests = [Request("a", **SHORT), Request("b", width=96, height=64, **SHORT), Request("c", **SHORT)]
    assert [tuple(image.shape) for image in generate_images(tiny.build_model(is_shallow=True), requests)] == [
        (3, 64, 64),
        (3, 64, 96),
        (3, 64, 64),
    ]


@pytest.mark.parametrize("settings", [{"width": 65}, {"height": -8}, {"steps": 0}, {"cfg_scale": -1.0}])
def test_a_setting_out_of_range_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(TetradError) as caught:
        Request("a", **settings)
    assert caught.value.code == "E3203"


def test_an_image_file_contains_its_infotext(tmp_path: Path) -> None:
    request = Request("a zkr", negative_prompt="blur", seed=7, width=64, height=64)
    text = infotext.format_request(request, "a zkr <lora:x:1>", "models/base.safetensors")
    png.save_png(tmp_path / "x.png", Image.new("RGB", (8, 8)), text)
    assert (
        Image.open(tmp_path / "x.png").text["parameters"] == "a zkr <lora:x:1>\nNegative prompt: blur\n"
        "Steps: 30, Sampler: DPM++ 2M, Schedule type: Uniform, CFG scale: 7, Seed: 7, Size: 64x64, "
        f"Model: base, RNG: CPU, Version: tetrad {__version__}"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_all_256_levels_survive_the_conversion_to_an_image() -> None:
    levels = torch.arange(256).repeat(3, 2, 1) / 255
    image = to_image(levels)
    assert list(image.crop((0, 0, 256, 1)).tobytes())[::3] == list(range(256))


def test_a_contact_sheet_shows_every_image_in_its_row_and_column() -> None:
    colours = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 0)]]
    rows = [[Image.new("RGB", (64, 64), colour) for colour in row] for row in colours]
    sheet = contact_sheet.make_contact_sheet(rows, ["first", "second"], ["left", "right"], "title", cell_width=96)
    for row, row_colours in enumerate(colours):
        for column, colour in enumerate(row_colours):
            x, y = (
                contact_sheet.LABEL_WIDTH + column * (96 + contact_sheet.GAP) + 48,
                contact_sheet.HEADER_HEIGHT + row * (96 + contact_sheet.GAP) + 48,
            )
            assert sheet.getpixel((x, y)) == colour
