"""Memory and time of each method on a GPU, with a Stable Diffusion 1 of full size, at 512 pixels, batch size 1.

    python -m bench.gpu

Each line has the measured peak, the estimate that the run printed, and a bare loop (bench/bare_loop.py) in the same
dtype. The model's weights are random. Times are medians of alternating Tetrad steps and bare steps, synchronized after
each; memory is torch's peak allocation of each loop alone.
"""

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench import model
from bench.bare_loop import run_bare_loop
from bench.cases import Case, build_method
from bench.step import make_images
from tetrad.methods import METHODS, MethodSettings
from tetrad.models.device import Precision, select_device
from tetrad.run.events import Note, Trained
from tetrad.run.train import train
from tetrad.settings import Data, Recipe, Sample, Save, Train

GIB = 1 << 30
RESOLUTION = 512


@dataclass(frozen=True)
class Trial:
    """A method with settings that change its memory or time."""

    title: str
    method: MethodSettings
    precision: Precision = "auto"
    settings: dict[str, Any] = field(default_factory=dict)
    bare_method: str = ""  # the method of the bare loop to compare with; "" for none


def build_trials() -> list[Trial]:
    low_memory_settings = {"optimizer": "adafactor", "fused_backward": True, "max_grad_norm": 0.0}
    return [
        *(Trial(method, build_method(method), bare_method=method) for method in METHODS),
        Trial("lora, with text encoder", METHODS["lora"]()),
        Trial("lora, float16", build_method("lora"), precision="fp16", bare_method="lora"),
        Trial("dreambooth, adafactor and fused backward", build_method("dreambooth"), settings=low_memory_settings),
    ]


def run_tetrad_loop(trial: Trial, model: Path, folder: Path, notes: list[str]) -> Iterator[float]:
    """The loss of each step of a real run, previews off."""
    recipe = Recipe(
        model=str(model),
        data=Data(images=str(make_images(folder, RESOLUTION)), trigger_word="zkr"),
        method=trial.method,
        train=Train(steps=1000, batch_size=1, precision=trial.precision, **trial.settings),
        sample=Sample(every=-1),
        save=Save(out=str(folder / "runs")),
    )
    for event in train(recipe):
        if isinstance(event, Note):
            notes.append(str(event.message))
        if isinstance(event, Trained):
            yield event.loss


def measure_peak_memory(loop: Iterator[float]) -> float:
    """The peak of allocated memory over four steps, in GiB."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for _ in range(4):
        next(loop)
    return (torch.cuda.max_memory_allocated() - before) / GIB


def measure_step_times(loops: dict[str, Iterator[float]], steps: int) -> dict[str, float]:
    """The median milliseconds of a step, for each loop."""
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(steps):
        for name, loop in loops.items():
            torch.cuda.synchronize()
            before = time.perf_counter()
            next(loop)
            torch.cuda.synchronize()
            times[name].append(1000 * (time.perf_counter() - before))
    return {name: statistics.median(each) for name, each in times.items()}


def report(trial: Trial, checkpoint: Path, folder: Path, steps: int) -> None:
    notes: list[str] = []
    tetrad_loop = run_tetrad_loop(trial, checkpoint, folder, notes)
    tetrad_peak = measure_peak_memory(tetrad_loop)
    estimate = next((note for note in notes if "estimated" in note), "no estimate")
    line = f"{trial.title}: {tetrad_peak:.2f} GiB; {estimate}"
    if trial.bare_method:
        bare_loop = run_bare_loop(
            Case(trial.title, trial.bare_method, str(checkpoint), RESOLUTION, 1), select_device("cuda", trial.precision)
        )
        bare_peak = measure_peak_memory(bare_loop)
        times = measure_step_times({"tetrad": tetrad_loop, "bare": bare_loop}, steps)
        line += f"; bare {bare_peak:.2f} GiB; step {times['tetrad']:.1f} ms, bare {times['bare']:.1f} ms, "
        line += f"ratio {times['tetrad'] / times['bare']:.3f}"
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    print(torch.cuda.get_device_name(), torch.__version__, flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary) / "sd1.safetensors"
        model.write_full_model(checkpoint)
        for trial in build_trials():
            report(trial, checkpoint, Path(temporary), arguments.steps)


if __name__ == "__main__":
    main()
