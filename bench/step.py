"""Tetrad's training loop compared with a bare loop on a CPU: time of a step, peak memory, time to the first step.

    python -m bench.step                  every method on the built-in model and on a wider one: a line each
    python -m bench.step --case lora      one of them

The bare loop (bench/bare_loop.py) does only what every trainer must do, in float32. Times are medians of the process's
CPU seconds, with Tetrad steps in float32, those in bfloat16 on the wider model, and bare steps alternating. Memory and
the time to the first step are measured in separate processes, with a warm latent cache. A line ends with the ratios:
`ratio 1.03, in bfloat16 0.61`. The figures are appended to bench/history.jsonl; bench/history.py draws them.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.cases import Case, build_cases, build_method
from bench.history import append_figures
from bench.peak_memory import read_peak
from tetrad.settings.train import Precision

CLOCK = time.process_time


def make_images(folder: Path, resolution: int) -> Path:
    """A folder with eight images of noise."""
    from PIL import Image

    target = folder / f"images{resolution}"
    target.mkdir(exist_ok=True)
    for number in range(8):
        Image.effect_noise((resolution, resolution), 40 + number).convert("RGB").save(target / f"{number}.png")
    return target


def run_tetrad_loop(case: Case, folder: Path, steps: int, precision: Precision = "fp32") -> Iterator[float]:
    """The loss of each step of a real run without previews; the last step saves the file as every run does."""
    from tetrad.run.events import Trained
    from tetrad.run.train import train
    from tetrad.settings import Data, Recipe, Sample, Save, Train

    recipe = Recipe(
        model=case.model,
        data=Data(images=str(make_images(folder, case.resolution)), trigger_word="zkr"),
        method=build_method(case.method),
        train=Train(steps=steps, batch_size=case.batch_size, precision=precision),
        sample=Sample(every=-1),
        save=Save(out=str(folder / "runs")),
    )
    yield from (event.loss for event in train(recipe) if isinstance(event, Trained))


def measure_steps(case: Case, folder: Path, steps: int) -> dict[str, float]:
    """Median CPU seconds of `steps` steps of each loop after three for warm-up, and the ratios of the pairs."""
    from bench.bare_loop import run_bare_loop

    loops = {"fp32": run_tetrad_loop(case, folder, steps + 4), "bare": run_bare_loop(case)}
    if case.model != "builtin":
        loops["bf16"] = run_tetrad_loop(case, folder, steps + 4, "bf16")
    times: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(steps + 3):
        for name, loop in loops.items():
            before = CLOCK()
            next(loop)
            if number >= 3:
                times[name].append(CLOCK() - before)
    ratios = {
        f"{name}_ratio": statistics.median(a / b for a, b in zip(times[name], times["bare"], strict=True))
        for name in loops
        if name != "bare"
    }
    return {f"{name}_seconds": statistics.median(times[name]) for name in loops} | ratios


def measure_in_process(loop_name: str, case: str, folder: Path) -> tuple[float, float]:
    """CPU seconds to the end of the first step, and the peak memory in MiB after four steps, in a new process."""
    command = [sys.executable, "-m", "bench.step", "--case", case, "--alone", loop_name, "--folder", str(folder)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    first, peak = process.stdout.split()[-2:]
    return float(first), float(peak)


def print_first_step_and_memory(loop_name: str, case: Case, folder: Path) -> None:
    from bench.bare_loop import run_bare_loop

    loop = run_tetrad_loop(case, folder, 5) if loop_name == "tetrad" else run_bare_loop(case)
    next(loop)
    first = CLOCK()
    for _ in range(3):
        next(loop)
    print(first, read_peak())


def measure(key: str, folder: Path, steps: int) -> dict[str, float]:
    """All figures of a case."""
    from bench import model

    case = build_cases(folder)[key]
    if case.model != "builtin" and not Path(case.model).exists():
        model.write_model(Path(case.model))
    figures = measure_steps(case, folder, steps)
    (tetrad_first, tetrad_peak), (bare_first, bare_peak) = (
        measure_in_process(loop_name, key, folder) for loop_name in ("tetrad", "bare")
    )
    return figures | {"first_step_more_seconds": tetrad_first - bare_first, "memory_ratio": tetrad_peak / bare_peak}


def describe(title: str, figures: Mapping[str, float]) -> str:
    """The figures in a line."""
    half = f", in bfloat16 {figures['bf16_ratio']:.2f}" if "bf16_ratio" in figures else ""
    milliseconds = {name: round(1000 * figures[f"{name}_seconds"]) for name in ("fp32", "bare")}
    return (
        f"{title}: first step {figures['first_step_more_seconds']:+.1f} CPU s, peak memory"
        f" ×{figures['memory_ratio']:.2f}, step {milliseconds['fp32']} ms, bare {milliseconds['bare']} ms,"
        f" ratio {figures['fp32_ratio']:.2f}{half}"
    )


def main() -> None:
    import torch

    names = list(build_cases(Path()))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=names, help="only this one")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alone", choices=["tetrad", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.alone:
        print_first_step_and_memory(arguments.alone, build_cases(arguments.folder)[arguments.case], arguments.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        for key in [arguments.case] if arguments.case else names:
            figures = measure(key, Path(temporary), arguments.steps)
            print(describe(build_cases(Path())[key].title, figures), flush=True)
            for warning in append_figures(key, figures):
                print(warning, flush=True)


if __name__ == "__main__":
    main()
