"""Infotext: formatted as in A1111, and parsed by A1111's rules."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tetrad.cli.generate import generate
from tetrad.errors import TetradError
from tetrad.generation import infotext, reproduce
from tetrad.generation.request import Request
from tetrad.images import png
from tetrad.images.infotext import Infotext, parse_infotext

# Written by hand from the published rules: quoting, order, "VAE" and hashes, a prompt of several lines.
A1111_INFOTEXT = """a (photo:1.2) of zkr,
BREAK <lora:ink:0.8>
Negative prompt: blurry,
bad hands
Steps: 20, Sampler: DPM++ 2M SDE, Schedule type: Karras, CFG scale: 6.5, Seed: 4294967295, Size: 512x768, \
Model hash: 6ce0161689, Model: v1-5-pruned, VAE hash: 735e4c3a44, VAE: "a, b.safetensors", Clip skip: 2, RNG: CPU, \
Lora hashes: "ink: 0123456789ab, wash: ba9876543210", TI hashes: "zkr: 001122334455", Version: v1.10.1"""


def test_an_infotext_of_a1111_is_parsed() -> None:
    parsed = parse_infotext(A1111_INFOTEXT)
    assert parsed.prompt == "a (photo:1.2) of zkr,\nBREAK <lora:ink:0.8>"
    assert parsed.negative_prompt == "blurry,\nbad hands"
    assert parsed.parameters["VAE"] == "a, b.safetensors"
    assert parsed.parameters["Lora hashes"] == "ink: 0123456789ab, wash: ba9876543210"
    assert infotext.to_request(parsed) == Request(
        parsed.prompt,
        parsed.negative_prompt,
        4294967295,
        20,
        6.5,
        "DPM++ 2M SDE Karras",
        512,
        768,
        clip_skip=2,
        a1111_steps=True,
    )
    assert reproduce.list_unreproducible(parsed) == []


@pytest.mark.parametrize(
    "parameters,sampler",
    [
        ({"Sampler": "Euler a"}, "Euler a"),
        ({"Sampler": "DPM++ 2M Karras"}, "DPM++ 2M Karras"),  # before A1111 1.9
        ({"Sampler": "DPM++ 2M", "Schedule type": "Automatic"}, "DPM++ 2M Karras"),
        ({"Sampler": "DPM++ 3M SDE", "Schedule type": "Automatic"}, "DPM++ 3M SDE Exponential"),
        ({"Sampler": "Euler", "Schedule type": "Automatic"}, "Euler"),
        ({"Sampler": "Euler", "Schedule type": "Align Your Steps"}, "Euler AYS"),
        ({"Sampler": "DDIM", "Schedule type": "Karras"}, "DDIM"),
        ({"Sampler": "UniPC", "Schedule type": "Karras"}, "UniPC"),  # A1111 writes the schedule and ignores it
        ({"Sampler": "UniPC", "Schedule type": "Karras", "Version": "tetrad 0.1.0"}, "UniPC Karras"),
        ({"Sampler": "DPM++ 2M SDE", "Schedule type": "Automatic"}, "DPM++ 2M SDE Exponential"),
        ({"Sampler": "DPM++ 2S a", "Schedule type": "Automatic"}, "DPM++ 2S a Karras"),
        ({"Sampler": "DPM++ 2S a Karras"}, "DPM++ 2S a Karras"),
    ],
)
def test_a_sampler_and_its_schedule_become_one_name(parameters: dict[str, str], sampler: str) -> None:
    assert infotext.read_sampler(Infotext("", "", parameters)) == sampler


@pytest.mark.parametrize(
    "request_",
    [
        Request("a cat", width=64, height=64),
        Request("a (cat:1.2), [a|b]\nBREAK x", "bad: very, bad", 2**64 - 1, 7, 1 / 3, "Euler a AYS", 64, 72, 2, 0.7),
        Request('say "hello", 你好', "", -5, 1, 7.0, "LCM", 8, 8),
        Request("", "only a negative", width=8, height=8),
        Request("[a:b:8]", a1111_steps=True, width=8, height=8),
        Request("a \\(cat\\): 3 <lora:x:1> # aside", sampler="DPM++ 3M SDE Exponential", width=8, height=8),
    ],
)
def test_a_formatted_request_parses_back_to_the_same_request(request_: Request) -> None:
    text = infotext.format_infotext(
        request_, {"Model": "a: b, c", "Lora hashes": "x: 01, y: 02", "VAE": "", "Version": "tetrad 1"}
    )
    parsed = parse_infotext(text)
    assert infotext.to_request(parsed) == request_
    assert parsed.parameters["Model"] == "a: b, c" and parsed.parameters["Lora hashes"] == "x: 01, y: 02"
    assert "VAE" not in parsed.parameters


def test_an_override_replaces_a_setting_that_cannot_be_parsed() -> None:
    parsed = parse_infotext(A1111_INFOTEXT.replace("DPM++ 2M SDE", "DPM adaptive"))
    with pytest.raises(TetradError, match="DPM adaptive"):
        infotext.to_request(parsed)
    assert infotext.to_request(parsed, {"sampler": "Euler a"}).sampler == "Euler a"


@pytest.mark.parametrize(
    "sampler,nearest",
    [
        ("Restart", "DPM++ 2M"),
        ("LMS Karras", "DPM2 Karras"),
        ("DPM adaptive", "DPM++ 2M"),
        ("DPM++ 2M SDE Heun", "DPM++ 2M SDE"),
    ],
)
def test_a_sampler_that_tetrad_does_not_have_comes_with_the_option_that_replaces_it(sampler: str, nearest: str) -> None:
    with pytest.raises(TetradError, match=f"'{re.escape(sampler)}'") as caught:
        infotext.read_sampler(Infotext("", "", {"Sampler": sampler}))
    assert caught.value.code == "E3201" and f'--sampler "{nearest}"' in str(caught.value)


def test_a_hypernetwork_parameter_from_before_2023_becomes_a_tag() -> None:
    old = parse_infotext("a cat\nSteps: 20, Seed: 3, Hypernet: glow(1234abcd), Hypernet strength: 0.6")
    assert infotext.read_prompt(old) == "a cat <hypernet:glow:0.6>"


def test_a_text_without_parameters_is_only_a_prompt() -> None:
    assert parse_infotext("a cat\nSteps: many, Seed: 3") == Infotext("a cat\nSteps: many, Seed: 3", "", {})
    with pytest.raises(TetradError, match="has no Seed") as caught:
        infotext.to_request(parse_infotext("a cat"))
    assert caught.value.code == "E3205"


def test_a_setting_that_is_not_a_number_is_refused() -> None:
    text = "a cat\nSteps: many, Sampler: Euler, CFG scale: 7, Seed: 3, Size: 8x8"
    with pytest.raises(TetradError, match="value of steps is not a number") as caught:
        infotext.to_request(parse_infotext(text))
    assert caught.value.code == "E3205"


def test_unsupported_settings_are_listed() -> None:
    text = (
        A1111_INFOTEXT.replace(", RNG: CPU", "").replace("Karras", "KL Optimal")
        + ", Hires upscaler: Latent, ENSD: 31337"
    )
    reasons = [str(each) for each in reproduce.list_unreproducible(parse_infotext(text))]
    assert len(reasons) == 4
    assert all(any(words in reason for reason in reasons) for words in ("hires fix", "ENSD", "KL Optimal", "GPU"))


@pytest.mark.parametrize(
    "parameters,named",
    [
        ('ControlNet 0: "Module: canny, Weight: 1"', "ControlNet 0"),
        ("ADetailer model: face.pt, ADetailer version: 24.5", "ADetailer model, ADetailer version"),
        ("RP Active: True, Module 1: ae", "RP Active, Module 1"),
        ("Image CFG scale: 0", "Image CFG scale"),
        ("Eta DDIM: 0", "Eta DDIM"),
        ("Hires steps: 9", "Hires steps"),  # without the upscaler, nothing else says so
    ],
)
def test_every_parameter_that_is_not_understood_is_named(parameters: str, named: str) -> None:
    (reason,) = reproduce.list_unreproducible(parse_infotext(f"{A1111_INFOTEXT}, {parameters}"))
    assert f" {named}, which " in str(reason)


@pytest.mark.parametrize(
    "parameters,count",
    [
        ("User: me, Batch pos: 3, Tiling: False, Emphasis: Original, ENSD: 0", 0),
        ("Eta: 0", 1),  # A1111 writes it only if it is not the sampler's own
        ("Variation seed: 0, Variation seed strength: 0.5", 1),
        ("Hires upscaler: Latent, Hires steps: 9, Hires upscale: 2", 1),
        ('Script: X/Y/Z plot, X Type: Seed, X Values: "1, 2", Fixed X Values: "1, 2"', 1),
    ],
)
def test_parameters_of_one_feature_are_one_reason(parameters: str, count: int) -> None:
    assert len(reproduce.list_unreproducible(parse_infotext(f"{A1111_INFOTEXT}, {parameters}"))) == count


def test_a_schedule_that_the_sampler_does_not_have_is_named() -> None:
    text = A1111_INFOTEXT.replace("DPM++ 2M SDE", "LCM")
    (reason,) = reproduce.list_unreproducible(parse_infotext(text))
    assert "Karras" in str(reason)


@pytest.mark.parametrize("text", ["a cat\nSteps: 3, Seed: 4, Size: 8x8", "你好\nSteps: 3, Seed: 4, Size: 8x8"])
def test_an_infotext_in_any_language_survives_the_file(text: str, tmp_path: Path) -> None:
    png.save_png(tmp_path / "x.png", Image.new("RGB", (8, 8)), text)
    assert png.read_infotext(tmp_path / "x.png") == text


def test_the_infotext_of_a_jpeg_is_read(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[png.EXIF_USER_COMMENT] = b"UNICODE\0" + "你好, a cat".encode("utf-16-be")
    Image.new("RGB", (16, 16)).save(tmp_path / "x.jpg", exif=exif)
    assert png.read_infotext(tmp_path / "x.jpg") == "你好, a cat"


@pytest.mark.parametrize("byte_order", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("prompt", ["a cat", "一只猫"])
def test_a_comment_is_read_in_either_byte_order(prompt: str, byte_order: str, tmp_path: Path) -> None:
    text, exif = f"{prompt}\nSteps: 2, Seed: 1, Size: 8x8", Image.Exif()
    exif.get_ifd(0x8769)[png.EXIF_USER_COMMENT] = b"UNICODE\0" + text.encode(byte_order)
    Image.new("RGB", (16, 16)).save(tmp_path / "x.jpg", exif=exif)
    assert png.read_infotext(tmp_path / "x.jpg") == text


def test_an_image_without_infotext_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    with pytest.raises(TetradError) as caught:
        png.read_infotext(tmp_path / "x.png")
    assert caught.value.code == "E3205"


def test_generate_from_an_image_reproduces_every_pixel(tmp_path: Path) -> None:
    first, again, other = (tmp_path / f"{name}.png" for name in ("first", "again", "other"))
    settings = {
        "steps": 3,
        "sampler": "Euler a Karras",
        "cfg_scale": 2.5,
        "cfg_rescale": 0.3,
        "width": 64,
        "height": 48,
    }
    generate(
        "a [red:blue:0.5] (apple:1.3)", negative_prompt="dark AND grey", seed=7, clip_skip=1, out=first, **settings
    )
    generate(png_info=first, out=again)
    generate(png_info=first, seed=8, out=other)
    opened = [Image.open(path) for path in (first, again, other)]
    assert opened[0].tobytes() == opened[1].tobytes() != opened[2].tobytes()
    assert opened[0].text == opened[1].text
    parameters = parse_infotext(opened[0].text["parameters"]).parameters
    assert parameters["Model"] == "builtin" and len(parameters["Model hash"]) == 10
    assert parameters["Version"].startswith("tetrad")


def test_each_further_image_uses_the_next_seed(tmp_path: Path) -> None:
    settings = {"steps": 2, "width": 32, "height": 32}
    generate("an apple", seed=5, num_images=3, batch_size=2, out=tmp_path / "many.png", **settings)
    generate("an apple", seed=7, out=tmp_path / "one.png", **settings)
    many = [Image.open(tmp_path / name) for name in ("many.png", "many-2.png", "many-3.png")]
    assert [infotext.to_request(parse_infotext(each.text["parameters"])).seed for each in many] == [5, 6, 7]
    one = Image.open(tmp_path / "one.png")
    levels = [torch.frombuffer(bytearray(each.tobytes()), dtype=torch.uint8).int() for each in (many[2], one)]
    assert (levels[0] - levels[1]).abs().max() <= 1  # a larger batch adds in another order
    assert replace(infotext.to_request(parse_infotext(one.text["parameters"])), seed=0).prompt == "an apple"
