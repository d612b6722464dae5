"""`tetrad demo`: LoRA's in every run of the tests, the other methods' with `-m slow` (minutes each)."""

import functools
import re
from dataclasses import replace
from pathlib import Path

import commands
import pytest
from PIL import Image

from tetrad.demo import DEMO_TASKS
from tetrad.methods import METHODS


def run_with_fewer_images() -> None:
    """The demo, with two thirds of the steps and half as many images and sampling steps as for a person."""
    from tetrad import cli, demo

    demo._SAMPLING_STEPS = 12
    for kind, task in DEMO_TASKS.items():
        DEMO_TASKS[kind] = replace(task, steps=task.steps * 2 // 3)
    demo.evaluate_training = functools.partial(demo.evaluate_training, count=16)
    cli.main()


def test_every_method_has_a_demo_task() -> None:
    assert DEMO_TASKS.keys() == METHODS.keys()


@pytest.mark.parametrize(
    "method", ["lora", *(pytest.param(kind, marks=pytest.mark.slow) for kind in DEMO_TASKS if kind != "lora")]
)
def test_the_demo_trains_what_the_model_has_never_seen(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The likeness rises by 30 points or more, 90% of the backgrounds are as prompted, and there is a contact sheet."""
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    done = commands.Command("demo", "--method", method, "--out", tmp_path, program="test_demo:run_with_fewer_images")
    process = done.wait(900)
    assert process.returncode == 0, process.stderr
    file, sheet = map(Path, process.stdout.split())
    with Image.open(sheet) as sheet_image:
        assert file.exists() and sheet_image.width > 700
    before, after, obedience = map(int, re.findall(r"(\d+)%", process.stderr)[-3:])
    assert after >= before + 30 and obedience >= 90
