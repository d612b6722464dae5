"""A web UI's text beside an image: its prompt is the caption, and a person is told."""

from pathlib import Path

import pytest
from PIL import Image
from test_encodings import load_dataset

from tetrad.data.captions.caption_files import find_prompt, read_caption
from tetrad.data.captions.folder import CaptionFolder

PARAMETERS = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 512x512, Model: v1-5"


@pytest.mark.parametrize(
    "text,prompt",
    [
        (f"a cat <lora:fur:0.8>, red\nNegative prompt: blur, bad\n{PARAMETERS}", "a cat, red"),
        (f"a cat\non a mat\n{PARAMETERS}", "a cat\non a mat"),
        (f"<hypernet:glow:1>\n{PARAMETERS}", ""),
        ("a cat, steps: 3, size: large, seed: grass", None),
        ("a cat\nNegative prompt: blur", None),
        ("a cat", None),
    ],
)
def test_the_prompt_of_an_infotext_is_found(text: str, prompt: str | None) -> None:
    assert find_prompt(text) == prompt


def test_its_prompt_is_the_caption_and_a_warning_says_so(tmp_path: Path) -> None:
    for name, caption in {"a": f"a cat <lora:fur:0.8>\nNegative prompt: blur\n{PARAMETERS}", "b": "a dog"}.items():
        Image.effect_noise((64, 64), 40 + ord(name)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(caption)
    photos, problems = load_dataset(tmp_path)
    assert [photo.caption for photo in photos] == ["a cat", "a dog"]
    assert [(each.path.name, each.code) for each in problems] == [("a.png", "W4165")]
    folder = CaptionFolder(tmp_path)
    assert [image.caption for image in folder.images] == ["a cat", "a dog"]
    [problem] = folder.problems
    assert problem.code == "W4165" and "'a cat'" in str(problem.reason)


def test_an_infotext_without_a_prompt_leaves_the_next_caption_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"<lora:fur:1>\n{PARAMETERS}")
    (tmp_path / "a.caption").write_text("a cat")
    assert read_caption(tmp_path / "a.png").text == "a cat"
