"""Pictures that cannot be drawn as they are asked for: one sentence each, and nothing is written over."""

import shutil
from pathlib import Path

import pytest
from places import Place


@pytest.mark.parametrize(
    "prompt,arguments,code,words",
    [
        ("<wildcard:zkr>", (), "E3202", "<lora:NAME:0.8>"),
        ("<lora:zkr:1000>", (), "E3204", "only noise"),
        ("<hypernet:zkr:1>", (), "E5160", "no hypernetwork called zkr"),
        ("<lora:zkr:strong>", (), "E3202", "'strong' is no number"),
        ("<lora:zkr:nan>", (), "E3202", "nan"),
        ("a cat", ("--sampler", "Euler b"), "E3201", "did you mean 'Euler"),
        ("a cat", ("--out", "cat.jpg"), "E3252", "cat.jpg"),
        ("a cat", ("--models-dir", "."), "E5161", "Stable-diffusion"),
        ("a cat", ("--image", "nothing.png"), "E3251", "nothing.png"),
        ("a cat", ("--from", "nothing.png"), "E4103", "nothing.png"),
        ("a cat", ("--strength", "2"), "E3203", "from 0 to 1"),
        ("a cat", ("--width", "65"), "E3203", "64 would do"),
        ("a cat", ("--height", "-8"), "E3203", "-8"),
        ("a cat", ("--steps", "0"), "E3203", "1 to 1000"),
        ("a cat", ("--cfg-scale", "-1"), "E3203", "-1"),
        ("a cat", ("--cfg-scale", "nan"), "E3203", "nan"),
        ("a cat", ("--device", "quantum"), "E8001", "quantum"),
    ],
)
def test_a_bad_request_is_refused(prompt: str, arguments: tuple[str, ...], code: str, words: str, place: Place) -> None:
    place.refused(place.generate(prompt, *arguments), code, words)


def test_an_existing_picture_is_not_overwritten(place: Place) -> None:
    place.runs.mkdir()
    shutil.copy(place.photos() / "0.png", place.runs / "picture.png")
    before = (place.runs / "picture.png").read_bytes()
    outcome = place.generate("a cat")
    assert outcome.exit_code == 0, outcome.err
    assert (place.runs / "picture.png").read_bytes() == before
    assert Path(outcome.out.strip()) == place.runs / "picture-2.png"
