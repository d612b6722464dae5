"""The estimated memory of a training step beside the measured peak, on a CPU; each row is a run in its own process.

    python -m bench.memory                every row, a line each; rows that are in --results already are not run again
    python -m bench.memory --row 3        only this one

The model has the layout of Stable Diffusion 1 with 137 M parameters in the U-Net (bench/model.py). The peak is the most
resident memory of steps 2 and 3; the first step, which also loads and encodes, is printed beside it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

from bench.cases import build_method
from bench.peak_memory import read_peak
from bench.step import make_images
from tetrad.methods import MethodSettings

MIB = 1 << 20
LEAN = {"optimizer": "adafactor", "fused_backward": True, "max_grad_norm": 0.0}


@dataclass(frozen=True)
class Row:
    method: str
    resolution: int  # pixels
    batch_size: int
    checkpointing: bool
    optimizer: str = "adamw"
    fused_backward: bool = False
    bf16_weights: bool = False

    @property
    def title(self) -> str:
        checkpointing = ", checkpointing" if self.checkpointing else ""
        fused = ", fused backward" if self.fused_backward else ""
        weights = ", bf16 weights" if self.bf16_weights else ""
        size = f"{self.resolution}², batch {self.batch_size}"
        return f"{self.method} {size}, {self.optimizer}{checkpointing}{fused}{weights}"

    def build_method(self) -> MethodSettings:
        method = build_method(self.method)
        return replace(method, bf16_weights=True) if self.bf16_weights else method  # type: ignore[call-arg]


def build_rows() -> list[Row]:
    """4 methods × 3 sizes × with and without checkpointing, and the other optimizers."""
    sizes = ((256, 1), (256, 4), (448, 1))
    methods = ("lora", "dreambooth", "textual-inversion", "hypernetwork")
    rows = [Row(method, *size, checkpointing) for method, size, checkpointing in product(methods, sizes, (False, True))]
    lean = [
        Row("dreambooth", *size, checkpointing, "adafactor", True) for size in sizes for checkpointing in (False, True)
    ]
    half = [
        Row("dreambooth", 256, 1, False, bf16_weights=True),
        Row("dreambooth", 256, 4, False, bf16_weights=True),
        Row("dreambooth", 256, 1, False, "adafactor", True, bf16_weights=True),
        Row("dreambooth", 448, 1, True, "adafactor", True, bf16_weights=True),
    ]
    return [*rows, *lean, Row("dreambooth", 256, 1, False, "adafactor"), Row("lora", 512, 1, False), *half]


def run_row(row: Row, model: Path, folder: Path) -> dict[str, float]:
    """The estimate and the peaks of a real run of three steps, in MiB."""
    import torch

    from tetrad.estimate import forecast_memory
    from tetrad.library import load_model
    from tetrad.models.device import DeviceSpec
    from tetrad.run.events import Started, Trained
    from tetrad.run.train import train
    from tetrad.settings import Data, Recipe, Sample, Save, Train

    settings = {"fused_backward": True, "max_grad_norm": 0.0} if row.fused_backward else {}
    options = Train(
        steps=3,
        precision="bf16" if row.bf16_weights else "fp32",
        batch_size=row.batch_size,
        optimizer=row.optimizer,  # type: ignore[arg-type]
        gradient_checkpointing=row.checkpointing,
        **settings,  # type: ignore[arg-type]
    )
    recipe = Recipe(
        model=str(model),
        data=Data(images=str(make_images(folder, row.resolution)), trigger_word="zkr", resolution=row.resolution),
        method=row.build_method(),
        train=options,
        sample=Sample(every=-1),
        save=Save(out=str(folder / "runs")),
    )
    first = peak = 0.0
    run = folder
    for event in train(recipe):
        if isinstance(event, Started):
            run = event.folder
        if isinstance(event, Trained):
            if event.step == 1:
                first = read_peak()
                Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
            elif event.step == 3:
                peak = read_peak()
                break
    device = DeviceSpec(torch.device("cpu"), torch.bfloat16 if row.bf16_weights else torch.float32)
    forecast = forecast_memory(
        load_model(str(model)), row.build_method(), options, row.resolution, row.batch_size, device
    )
    assert forecast is not None
    estimate = forecast.checkpointed_bytes if row.checkpointing else forecast.needed_bytes
    if tomllib.loads((run / "plan.toml").read_text("utf-8"))["train"]["packs_convolutions"]:
        estimate += forecast.packing_bytes
    return {"estimate": estimate / MIB, "peak": peak, "first": first}


def measure(row: Row, number: int, folder: Path) -> dict[str, float]:
    """The figures of a row, from a new process."""
    command = [sys.executable, "-m", "bench.memory", "--alone", str(number), "--folder", str(folder)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return figures


def read_results(path: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """The rows that were measured before: title and figures."""
    for line in path.read_text().splitlines() if path.exists() else ():
        values = json.loads(line)
        yield values["title"], values["figures"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    rows = build_rows()
    parser.add_argument("--row", type=int, choices=range(len(rows)), help="only this one")
    parser.add_argument("--results", type=Path, help="keep the figures in this file")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone is not None:
        print(json.dumps(run_row(rows[arguments.alone], arguments.folder / "wide.safetensors", arguments.folder)))
        return
    known = dict(read_results(arguments.results)) if arguments.results else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        from bench.model import write_model

        write_model(folder / "wide.safetensors")
        for number, row in enumerate(rows):
            if arguments.row not in (None, number):
                continue
            figures = known.get(row.title) or measure(row, number, folder)
            if arguments.results and row.title not in known:
                with arguments.results.open("a") as file:
                    file.write(json.dumps({"title": row.title, "row": asdict(row), "figures": figures}) + "\n")
            estimate, peak, first = (figures[name] for name in ("estimate", "peak", "first"))
            ratio = f"ratio {estimate / peak:.2f} (first step {first:.0f})"
            print(f"{row.title}: estimate {estimate:.0f} MiB, peak {peak:.0f} MiB, {ratio}", flush=True)


if __name__ == "__main__":
    main()
