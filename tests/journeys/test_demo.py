"""The demo's four lessons: each method raises the likeness on its own sample set, and one sheet shows it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tetrad.cli import demo
from tetrad.lessons import LESSONS
from tetrad.methods import METHODS

TETRAD = [sys.executable, "-c", "from tetrad.cli import main; main()"]


def test_every_method_has_a_lesson_and_a_way_to_use_its_file() -> None:
    assert LESSONS.keys() == METHODS.keys() == demo.USES.keys()


@pytest.mark.parametrize("method", list(METHODS))
def test_the_demo_teaches_what_was_not_there_and_shows_it(method: str, tmp_path: Path) -> None:
    environment = {**os.environ, "TETRAD_CACHE": str(tmp_path / "cache")}
    arguments = ["demo", "--method", method, "--out", str(tmp_path)]
    done = subprocess.run([*TETRAD, *arguments], capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr
    file, sheet = map(Path, done.stdout.split())
    with Image.open(sheet) as drawn:
        assert file.exists() and drawn.width > 700
    before, after, obedience = map(int, re.findall(r"(\d+)%", done.stderr)[-3:])
    assert after > before and obedience >= 90
