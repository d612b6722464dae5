"""On a GPU: what each method takes on a Stable Diffusion 1 of full width, at 512 pixels, one picture a step.

    python -m bench.gpu

Beside what was foretold before the start, and beside a bare loop (bench/bare.py) in the same numbers. The model's
weights are random. Times are medians of one step of ours and one bare step by turns, the device waited for after each;
memory is the most that torch had allocated at a time, of each loop alone.
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
from bench.bare import bare
from bench.cases import Case, method
from bench.step import pictures
from tetrad.methods import METHODS
from tetrad.methods.base import Method
from tetrad.recipe import Data, Recipe, Sample, Save, Train
from tetrad.run import train
from tetrad.training.device import Precision, chosen
from tetrad.training.events import Note, Trained

GIB = 1 << 30
SIDE = 512


@dataclass(frozen=True)
class Trial:
    """A method and the settings that change what it needs."""

    title: str
    method: Method
    precision: Precision = "auto"
    settings: dict[str, Any] = field(default_factory=dict)
    case: str = ""  # the kind that bare.py knows it by, where they are to be compared


def trials() -> list[Trial]:
    frugal = {"optimizer": "adafactor", "fused_backward": True, "max_grad_norm": 0.0}
    return [
        *(Trial(kind, method(kind), case=kind) for kind in METHODS),
        Trial("lora, with text encoder", METHODS["lora"]()),
        Trial("lora, float16", method("lora"), precision="fp16", case="lora"),
        Trial("dreambooth, adafactor and fused backward", method("dreambooth"), settings=frugal),
    ]


def ours(trial: Trial, model: Path, folder: Path, notes: list[str]) -> Iterator[float]:
    """The loss of each step of a real run, previews off."""
    recipe = Recipe(
        model=str(model),
        data=Data(images=str(pictures(folder, SIDE)), word="zkr"),
        method=trial.method,
        train=Train(steps=1000, batch_size=1, precision=trial.precision, **trial.settings),
        sample=Sample(every=-1),
        save=Save(out=str(folder / "runs")),
    )
    for event in train(recipe):
        if isinstance(event, Note):
            notes.append(event.text)
        if isinstance(event, Trained):
            yield event.loss


def alone(loop: Iterator[float]) -> float:
    """The most memory it ever has, in GiB, over four steps."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for _ in range(4):
        next(loop)
    return (torch.cuda.max_memory_allocated() - before) / GIB


def by_turns(loops: dict[str, Iterator[float]], steps: int) -> dict[str, float]:
    """Median milliseconds of a step of each."""
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
    mine = ours(trial, checkpoint, folder, notes)
    peak = alone(mine)
    foretold = next((note for note in notes if "estimated" in note), "nothing foretold")
    line = f"{trial.title}: {peak:.2f} GiB; {foretold}"
    if trial.case:
        floor = bare(Case(trial.title, trial.case, str(checkpoint), SIDE, 1), chosen("cuda", trial.precision))
        floor_peak = alone(floor)
        times = by_turns({"ours": mine, "bare": floor}, steps)
        line += f"; bare {floor_peak:.2f} GiB; step {times['ours']:.1f} ms, bare {times['bare']:.1f} ms, "
        line += f"ratio {times['ours'] / times['bare']:.3f}"
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    print(torch.cuda.get_device_name(), torch.__version__, flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary) / "sd1.safetensors"
        model.write_full(checkpoint)
        for trial in trials():
            report(trial, checkpoint, Path(temporary), arguments.steps)


if __name__ == "__main__":
    main()
