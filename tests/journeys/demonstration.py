"""What `tetrad demo` has to show for each method; its tests lie in two files, so that two processes share them."""

import os
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

TETRAD = [sys.executable, "-c", "from tetrad.cli import main; main()"]


def check(method: str, place: Path) -> None:
    """The likeness rises far on the method's own sample set, backgrounds are obeyed, and one sheet shows it."""
    environment = {**os.environ, "TETRAD_CACHE": str(place / "cache")}
    arguments = ["demo", "--method", method, "--out", str(place)]
    done = subprocess.run([*TETRAD, *arguments], capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr
    file, sheet = map(Path, done.stdout.split())
    with Image.open(sheet) as drawn:
        assert file.exists() and drawn.width > 700
    before, after, obedience = map(int, re.findall(r"(\d+)%", done.stderr)[-3:])
    assert after >= before + 30 and obedience >= 90
