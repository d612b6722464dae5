"""The text in a picture: as A1111 writes it, and read by A1111's rules."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tetrad.cli.generate import generate
from tetrad.errors import TetradError
from tetrad.generation import infotext, png, repeat
from tetrad.generation.infotext import Infotext
from tetrad.generation.request import Request

# Put together by hand from the published rules: quoting, order, "VAE" and hashes, a prompt of several lines.
OF_A1111 = """a (photo:1.2) of zkr,
BREAK <lora:ink:0.8>
Negative prompt: blurry,
bad hands
Steps: 20, Sampler: DPM++ 2M SDE, Schedule type: Karras, CFG scale: 6.5, Seed: 4294967295, Size: 512x768, \
Model hash: 6ce0161689, Model: v1-5-pruned, VAE hash: 735e4c3a44, VAE: "a, b.safetensors", Clip skip: 2, RNG: CPU, \
Lora hashes: "ink: 0123456789ab, wash: ba9876543210", TI hashes: "zkr: 001122334455", Version: v1.10.1"""


def test_a_text_of_a1111_is_read() -> None:
    found = infotext.read(OF_A1111)
    assert found.prompt == "a (photo:1.2) of zkr,\nBREAK <lora:ink:0.8>"
    assert found.negative == "blurry,\nbad hands"
    assert found.facts["VAE"] == "a, b.safetensors"
    assert found.facts["Lora hashes"] == "ink: 0123456789ab, wash: ba9876543210"
    assert infotext.request(found) == Request(
        found.prompt, found.negative, 4294967295, 20, 6.5, "DPM++ 2M SDE Karras", 512, 768, clip_skip=2
    )
    assert repeat.unrepeated(found) == []


@pytest.mark.parametrize(
    "facts,sampler",
    [
        ({"Sampler": "Euler a"}, "Euler a"),
        ({"Sampler": "DPM++ 2M Karras"}, "DPM++ 2M Karras"),  # before A1111 1.9
        ({"Sampler": "DPM++ 2M", "Schedule type": "Automatic"}, "DPM++ 2M Karras"),
        ({"Sampler": "DPM++ 3M SDE", "Schedule type": "Automatic"}, "DPM++ 3M SDE Exponential"),
        ({"Sampler": "Euler", "Schedule type": "Automatic"}, "Euler"),
        ({"Sampler": "Euler", "Schedule type": "Align Your Steps"}, "Euler AYS"),
        ({"Sampler": "DDIM", "Schedule type": "Karras"}, "DDIM"),
    ],
)
def test_a_sampler_and_its_schedule_are_one_name(facts: dict[str, str], sampler: str) -> None:
    assert infotext.sampler(Infotext("", "", facts)) == sampler


@pytest.mark.parametrize(
    "request_",
    [
        Request("a cat", width=64, height=64),
        Request("a (cat:1.2), [a|b]\nBREAK x", "bad: very, bad", 2**64 - 1, 7, 1 / 3, "Euler a AYS", 64, 72, 2, 0.7),
        Request('say "hello", 你好', "", -5, 1, 7.0, "LCM", 8, 8),
        Request("", "only a negative", width=8, height=8),
        Request("a \\(cat\\): 3 <lora:x:1> # aside", sampler="DPM++ 3M SDE Exponential", width=8, height=8),
    ],
)
def test_what_is_written_reads_back_as_the_same_request(request_: Request) -> None:
    text = infotext.written(request_, {"Model": "a: b, c", "Lora hashes": "x: 01, y: 02", "VAE": ""})
    found = infotext.read(text)
    assert infotext.request(found) == request_
    assert found.facts["Model"] == "a: b, c" and found.facts["Lora hashes"] == "x: 01, y: 02"
    assert "VAE" not in found.facts


def test_what_is_given_is_not_asked_of_the_text() -> None:
    found = infotext.read(OF_A1111.replace("DPM++ 2M SDE", "DPM adaptive"))
    with pytest.raises(TetradError, match="DPM adaptive"):
        infotext.request(found)
    assert infotext.request(found, {"sampler": "Euler a"}).sampler == "Euler a"


def test_a_hypernetwork_of_before_2023_is_asked_for_in_the_prompt() -> None:
    old = infotext.read("a cat\nSteps: 20, Seed: 3, Hypernet: glow(1234abcd), Hypernet strength: 0.6")
    assert infotext.prompt(old) == "a cat <hypernet:glow:0.6>"


def test_a_text_without_facts_is_all_prompt() -> None:
    assert infotext.read("a cat\nSteps: many, Seed: 3") == Infotext("a cat\nSteps: many, Seed: 3", "", {})
    with pytest.raises(TetradError, match="it has no Seed") as caught:
        infotext.request(infotext.read("a cat"))
    assert caught.value.code == "E3205"


def test_what_cannot_be_repeated_is_said() -> None:
    text = OF_A1111.replace(", RNG: CPU", "").replace("Karras", "KL Optimal") + ", Hires upscaler: Latent, ENSD: 31337"
    left = repeat.unrepeated(infotext.read(text))
    assert {"the second pass", "the second seed", "the schedule KL Optimal"} <= set(left) and len(left) == 4


@pytest.mark.parametrize("text", ["a cat\nSteps: 3, Seed: 4, Size: 8x8", "你好\nSteps: 3, Seed: 4, Size: 8x8"])
def test_the_text_survives_the_file_in_any_language(text: str, tmp_path: Path) -> None:
    png.save(tmp_path / "x.png", Image.new("RGB", (8, 8)), text)
    assert png.parameters(tmp_path / "x.png") == text


def test_the_text_of_a_jpeg_is_read(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[png.COMMENT] = b"UNICODE\0" + "你好, a cat".encode("utf-16-be")
    Image.new("RGB", (16, 16)).save(tmp_path / "x.jpg", exif=exif)
    assert png.parameters(tmp_path / "x.jpg") == "你好, a cat"


def test_a_photo_without_a_text_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    with pytest.raises(TetradError) as caught:
        png.parameters(tmp_path / "x.png")
    assert caught.value.code == "E3205"


def test_generate_from_a_picture_draws_it_again_to_the_pixel(tmp_path: Path) -> None:
    first, again, other = (tmp_path / f"{name}.png" for name in ("first", "again", "other"))
    settings = {
        "steps": 3,
        "sampler": "Euler a Karras",
        "cfg_scale": 2.5,
        "cfg_rescale": 0.3,
        "width": 64,
        "height": 48,
    }
    generate("a [red:blue:0.5] (apple:1.3)", negative="dark AND grey", seed=7, clip_skip=1, out=first, **settings)
    generate(from_=first, out=again)
    generate(from_=first, seed=8, out=other)
    opened = [Image.open(path) for path in (first, again, other)]
    assert opened[0].tobytes() == opened[1].tobytes() != opened[2].tobytes()
    assert opened[0].text == opened[1].text
    facts = infotext.read(opened[0].text["parameters"]).facts
    assert facts["Model"] == "builtin" and len(facts["Model hash"]) == 10 and facts["Version"].startswith("tetrad")


def test_a_count_of_pictures_goes_on_from_the_seed(tmp_path: Path) -> None:
    settings = {"steps": 2, "width": 32, "height": 32}
    generate("an apple", seed=5, count=3, batch=2, out=tmp_path / "many.png", **settings)
    generate("an apple", seed=7, out=tmp_path / "one.png", **settings)
    many = [Image.open(tmp_path / name) for name in ("many.png", "many-2.png", "many-3.png")]
    assert [infotext.request(infotext.read(each.text["parameters"])).seed for each in many] == [5, 6, 7]
    one = Image.open(tmp_path / "one.png")
    levels = [torch.frombuffer(bytearray(each.tobytes()), dtype=torch.uint8).int() for each in (many[2], one)]
    assert (levels[0] - levels[1]).abs().max() <= 1  # a larger batch sums in another order
    assert replace(infotext.request(infotext.read(one.text["parameters"])), seed=0).prompt == "an apple"
