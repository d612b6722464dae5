"""`tetrad demo`: LoRA's in every run of the tests, the other methods' with `-m slow` (minutes each)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tetrad.demo import DEMO_TASKS
from tetrad.methods import METHODS

TETRAD_COMMAND = [sys.executable, "-c", "from tetrad.cli import main; main()"]


def test_every_method_has_a_demo_task() -> None:
    assert DEMO_TASKS.keys() == METHODS.keys()


@pytest.mark.parametrize(
    "method", ["lora", *(pytest.param(kind, marks=pytest.mark.slow) for kind in DEMO_TASKS if kind != "lora")]
)
def test_the_demo_trains_what_the_model_has_never_seen(method: str, tmp_path: Path) -> None:
    """The likeness rises by 30 points or more, 90% of the backgrounds are as prompted, and there is a contact sheet."""
    environment = {**os.environ, "TETRAD_CACHE": str(tmp_path / "cache")}
    arguments = ["demo", "--method", method, "--out", str(tmp_path)]
    process = subprocess.run(
        [*TETRAD_COMMAND, *arguments], capture_output=True, text=True, timeout=900, env=environment
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr.startswith("loading PyTorch…\n")
    file, sheet = map(Path, process.stdout.split())
    with Image.open(sheet) as sheet_image:
        assert file.exists() and sheet_image.width > 700
    before, after, obedience = map(int, re.findall(r"(\d+)%", process.stderr)[-3:])
    assert after >= before + 30 and obedience >= 90
