"""The bare loop that benchmarks compare with runs for every method."""

from dataclasses import replace
from math import isfinite
from pathlib import Path

import pytest

from bench.bare_loop import run_bare_loop
from bench.cases import build_cases
from tetrad.methods import METHODS


@pytest.mark.parametrize("method", list(METHODS))
def test_the_bare_loop_trains_every_method(method: str) -> None:
    loop = run_bare_loop(replace(build_cases(Path())[method], batch_size=1, resolution=64))
    first, second = next(loop), next(loop)
    assert isfinite(first) and second != first
