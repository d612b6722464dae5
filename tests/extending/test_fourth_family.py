"""A fourth family, with 16 latent channels and rectified flow, is one file and one line: all four methods train it."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_it_is_trained_by_every_method_and_generates() -> None:
    """In its own process, in which the family is registered before anything else is imported."""
    paths = os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "wide", "-p", "no:cacheprovider", str(HERE / "wide_checks.py")]
    process = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HERE.parents[1])
    assert process.returncode == 0, process.stdout[-3000:]
