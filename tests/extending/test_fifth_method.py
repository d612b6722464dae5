"""A fifth method is one file and one line: it passes the contract tests, and every command knows it."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CHECKS = ("tests/test_contract.py", "tests/extending/ia3_checks.py")


def test_it_passes_every_contract_test_and_the_commands_know_it() -> None:
    """In its own process, in which the method is registered before anything else is imported."""
    paths = os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    options = ("-p", "ia3", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "ia3 and not sd2")
    command = [sys.executable, "-m", "pytest", *options, *CHECKS]
    process = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HERE.parents[1])
    assert process.returncode == 0, process.stdout[-3000:]
    contract, own = 1 + 5 * 2, 3  # one test of its settings, and five on two families
    assert process.stdout.count(".") >= contract + own
