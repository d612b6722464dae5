"""Our whole training loop against a bare loop: time of a step, peak memory, time to the first step.

    python -m bench.step                  every method on the built-in model, and a wide model: a line each
    python -m bench.step --case lora      one of them

The bare loop (bench/bare.py) is what no trainer can do without. Times are CPU seconds of the process, one step of ours
and one bare step by turns, and their medians; memory and the first step are those of processes of their own, the cache
of latents being warm. A line ends in the ratio: `ratio 1.03`.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.cases import Case, cases, method

CLOCK = time.process_time


def pictures(folder: Path, side: int) -> Path:
    """Eight pictures of noise."""
    from PIL import Image

    target = folder / f"pictures{side}"
    target.mkdir(exist_ok=True)
    for number in range(8):
        Image.effect_noise((side, side), 40 + number).convert("RGB").save(target / f"{number}.png")
    return target


def ours(case: Case, folder: Path, steps: int) -> Iterator[float]:
    """The loss of each step of a real run, previews off; the last step writes the result as any run does."""
    from tetrad.recipe import Data, Recipe, Sample, Save, Train
    from tetrad.run import train
    from tetrad.training.events import Trained

    recipe = Recipe(
        model=case.model,
        data=Data(images=str(pictures(folder, case.side)), word="zkr"),
        method=method(case.kind),
        train=Train(steps=steps, batch_size=case.batch_size),
        sample=Sample(every=-1),
        save=Save(out=str(folder / "runs")),
    )
    yield from (event.loss for event in train(recipe) if isinstance(event, Trained))


def step_ratio(case: Case, folder: Path, steps: int) -> str:
    """Medians over `steps` of each, after three of each that do not count."""
    from bench.bare import bare

    loops = {"ours": ours(case, folder, steps + 4), "bare": bare(case)}
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for number in range(steps + 3):
        for name, loop in loops.items():
            before = CLOCK()
            next(loop)
            if number >= 3:
                times[name].append(CLOCK() - before)
    mine, floor = statistics.median(times["ours"]), statistics.median(times["bare"])
    return f"step {1000 * mine:.0f} ms, bare {1000 * floor:.0f} ms, ratio {mine / floor:.2f}"


def alone(which: str, case: str, folder: Path) -> tuple[float, float]:
    """CPU seconds to the end of the first step and peak MiB after four, in a fresh process."""
    command = [sys.executable, "-m", "bench.step", "--case", case, "--alone", which, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, peak = done.stdout.split()[-2:]
    return float(first), float(peak)


def run_alone(which: str, case: Case, folder: Path) -> None:
    from bench.bare import bare

    loop = ours(case, folder, 5) if which == "ours" else bare(case)
    next(loop)
    first = CLOCK()
    for _ in range(3):
        next(loop)
    print(first, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def report(key: str, folder: Path, steps: int) -> None:
    from bench import model

    case = cases(folder)[key]
    if case.model != "builtin" and not Path(case.model).exists():
        model.write(Path(case.model))
    words = step_ratio(case, folder, steps)
    mine, floor = alone("ours", key, folder), alone("bare", key, folder)
    print(
        f"{case.title}: first step {mine[0] - floor[0]:+.1f} CPU s, peak memory ×{mine[1] / floor[1]:.2f}, {words}",
        flush=True,
    )


def main() -> None:
    import torch

    names = list(cases(Path()))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=names, help="only this one")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alone", choices=["ours", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.alone:
        run_alone(arguments.alone, cases(arguments.folder)[arguments.case], arguments.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        for key in [arguments.case] if arguments.case else names:
            report(key, Path(temporary), arguments.steps)


if __name__ == "__main__":
    main()
