"""What a step takes on a real Stable Diffusion 1, without a GPU; docs/memory.md has the figures.

Not run unless asked for (`pytest -m slow`): minutes, and up to 20 GiB of memory.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

GIB = 2**30
# By method: the most memory that two steps at 512 pixels and the saving of the result may take, and the file's size.
LIMITS = {"lora": (9 * GIB, 19e6), "dreambooth": (20 * GIB, 2.13e9)}


def measured(kind: str, folder: Path) -> dict[str, float]:
    script = Path(__file__).with_name("full_width.py")
    done = subprocess.run(
        [sys.executable, script, kind, "512", folder], capture_output=True, text=True, check=True, timeout=7200
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(kind, {name: f"{value:,.0f}" for name, value in found.items()})
    return found


@pytest.mark.slow
def test_a_picture_at_full_width_fits(tmp_path: Path) -> None:
    assert measured("generate", tmp_path)["peak"] < 12 * GIB


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(LIMITS))
def test_two_steps_at_full_width_fit(kind: str, tmp_path: Path) -> None:
    found = measured(kind, tmp_path)
    most, size = LIMITS[kind]
    assert found["peak"] < most and found["size"] == pytest.approx(size, rel=0.05)
