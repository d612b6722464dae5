"""Invalid requests for an image: one sentence each, and no file is overwritten."""

import shutil
from pathlib import Path

import pytest
from workspace import Workspace


@pytest.mark.parametrize(
    "prompt,arguments,code,expected",
    [
        ("<wildcard:zkr>", (), "E3202", "wildcard"),
        ("<lora:zkr:1000>", (), "E3204", "1000"),
        ("<hypernet:zkr:1>", (), "E5160", "zkr"),
        ("<lora:zkr:strong>", (), "E3202", "strong"),
        ("<lora:zkr:nan>", (), "E3202", "nan"),
        ("a cat", ("--sampler", "Euler b"), "E3201", "Euler b"),
        ("a cat", ("--out", "cat.jpg"), "E3252", "cat.jpg"),
        ("a cat", ("--models-dir", "."), "E5161", "Stable-diffusion"),
        ("a cat", ("--init-image", "nothing.png"), "E3251", "nothing.png"),
        ("a cat", ("--png-info", "nothing.png"), "E4103", "nothing.png"),
        ("a cat", ("--denoising-strength", "2"), "E3203", "2"),
        ("a cat", ("--width", "65"), "E3203", "64"),
        ("a cat", ("--height", "-8"), "E3203", "-8"),
        ("a cat", ("--steps", "0"), "E3203", "1000"),
        ("a cat", ("--cfg-scale", "-1"), "E3203", "-1"),
        ("a cat", ("--cfg-scale", "nan"), "E3203", "nan"),
        ("a cat", ("--device", "quantum"), "E8001", "quantum"),
    ],
)
def test_a_bad_request_is_refused(
    prompt: str, arguments: tuple[str, ...], code: str, expected: str, workspace: Workspace
) -> None:
    workspace.assert_refused(workspace.generate(prompt, *arguments), code, expected)


def test_an_existing_image_is_not_overwritten(workspace: Workspace) -> None:
    workspace.runs.mkdir()
    shutil.copy(workspace.make_photos() / "0.png", workspace.runs / "image.png")
    before = (workspace.runs / "image.png").read_bytes()
    outcome = workspace.generate("a cat")
    assert outcome.exit_code == 0, outcome.err
    assert (workspace.runs / "image.png").read_bytes() == before
    assert Path(outcome.out.strip()) == workspace.runs / "image-2.png"
