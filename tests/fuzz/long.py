"""Try random input for some minutes, new each time, and count it: `make fuzz`."""

import argparse
import random
import sys
import time
import warnings
from typing import Any

from fuzz.targets import TARGETS, Target
from hypothesis import HealthCheck, Phase, given, seed, settings

MAX_SECONDS = 5  # for one input


def try_for(target: Target, seconds: float) -> tuple[int, float]:
    """How many inputs were tried, and how long the slowest took.  Raises what an input does that it must not."""
    count, slowest = 0, 0.0
    end = time.monotonic() + seconds

    def check(value: Any) -> None:
        nonlocal count, slowest
        start = time.process_time()  # other programs do not count
        target.check(value)
        spent = time.process_time() - start
        count, slowest = count + 1, max(slowest, spent)
        assert spent < MAX_SECONDS, f"{value!r} took too long"

    limits = settings(
        max_examples=500,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    while time.monotonic() < end:
        seed(random.getrandbits(64))(limits(given(target.inputs)(check)))()
    return count, slowest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--kinds", nargs="*", default=list(TARGETS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    failed = False
    for kind in options.kinds:
        try:
            count, slowest = try_for(TARGETS[kind], options.minutes * 60 / len(options.kinds))
            print(f"{count:,} {kind}, the slowest {slowest:.2f} s", flush=True)
        except BaseException as error:
            failed = True
            notes = "\n".join(getattr(error, "__notes__", []))
            print(f"{kind}: {type(error).__name__}: {error}\n{notes}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
