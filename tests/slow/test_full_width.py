"""Memory and file size of a full-size Stable Diffusion 1 without a GPU; docs/memory.md has the figures.

Runs only with `pytest -m slow`: it takes minutes, and up to 20 GiB of memory.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

GIB = 2**30
# By method: largest memory for two steps at 512 pixels and saving, and the file's size, both in bytes.
LIMITS = {"lora": (9 * GIB, 19e6), "dreambooth": (20 * GIB, 2.13e9)}


def measure(task: str, folder: Path) -> dict[str, float]:
    script = Path(__file__).with_name("full_width.py")
    done = subprocess.run(
        [sys.executable, script, task, "512", folder], capture_output=True, text=True, check=True, timeout=7200
    )
    measurement: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(task, {name: f"{value:,.0f}" for name, value in measurement.items()})
    return measurement


@pytest.mark.slow
def test_generating_an_image_at_full_width_fits_in_12_gib(tmp_path: Path) -> None:
    assert measure("generate", tmp_path)["peak"] < 12 * GIB


@pytest.mark.slow
@pytest.mark.parametrize("method", list(LIMITS))
def test_two_steps_at_full_width_stay_within_the_memory_limit(method: str, tmp_path: Path) -> None:
    measurement = measure(method, tmp_path)
    max_memory, size = LIMITS[method]
    assert measurement["peak"] < max_memory and measurement["size"] == pytest.approx(size, rel=0.05)
