"""How much faster several processes are than one, and what they exchange: `python -m bench.processes`.

For each method the gradients of one update of 8 images at 32 × 32 latents, by one process with all threads (or as many
as `--threads` says) and by two with half of them each, in turn; the tests' small model, whose weights are random. The
weights are the same throughout.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import tiny
import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor

from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator
from tetrad.methods import DreamBooth, Hypernetwork, Lora, MethodSettings, TextualInversion
from tetrad.methods.base import parameters_of
from tetrad.models.base import Model
from tetrad.models.device import DeviceSpec
from tetrad.run.processes.team import connect, count_cores
from tetrad.run.processes.world import World
from tetrad.training.caption_cache import maybe_cache
from tetrad.training.gradients import (
    PlainBackward,
    Portion,
    StepRandomness,
    add_nothing,
    compute_gradients,
    draw_portions,
)
from tetrad.training.processes import Packet
from tetrad.training.shared_gradients import Follower, Leader

METHODS: dict[str, tuple[MethodSettings, str]] = {  # each with the family of the model
    "LoRA, rank 16": (Lora(rank=16), "sd1"),
    "LoRA, rank 16, of XL and its two text encoders": (Lora(rank=16, text_encoder=True), "sdxl"),
    "hypernetwork": (Hypernetwork(), "sd1"),
    "textual inversion": (TextualInversion(trigger_word="zkr", vectors=4), "sd1"),
    "DreamBooth": (DreamBooth(), "sd1"),
}
CPU = DeviceSpec(torch.device("cpu"), torch.float32)


def build(method: MethodSettings, family: str) -> tuple[Model, list[Tensor]]:
    model = tiny.build_model(family=family)
    parameters: list[Tensor] = [*parameters_of(tiny.attach(method, model, generator(0, 0, "method")))]
    return model, parameters


def draw(model: Model, images: int, side: int) -> list[Portion]:
    latents = torch.randn(images, 4, side, side, generator=generator(0, 0, "z"))
    batch = Batch(latents, ("a zkr",) * images, torch.ones(images))
    return list(draw_portions(model, Objective(), [batch], StepRandomness(0, 1, 0), add_nothing))


def follow(rank: int, count: int, store: str) -> None:
    processes = connect(World(rank, count, rank), CPU, Path(store))
    for method, family in METHODS.values():
        model, parameters = build(method, family)
        follower = Follower(processes, model, Objective(), parameters, lambda: None)
        while "done" not in (message := processes.receive()).values:
            follower.follow(message, torch.device("cpu"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--side", type=int, default=32, help="of the latents")
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--threads", type=int, default=count_cores(), help="of the one process")
    options = parser.parse_args()
    cores = count_cores()
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        others = [
            multiprocessing.Process(target=follow, args=(rank, options.processes, store), daemon=True)
            for rank in range(1, options.processes)
        ]
        for each in others:
            each.start()
        processes = connect(World(0, options.processes), CPU, Path(store))
        print("method | one process | all | times as fast | bytes of an update and process | difference of a gradient")
        for name, (method, family) in METHODS.items():
            model, parameters = build(method, family)
            condition = maybe_cache(model, model.condition)
            portions, leader = draw(model, options.images, options.side), Leader(processes, parameters)
            alone, together = list[float](), list[float]()
            for _try in range(options.tries + 1):
                for compute, threads, seconds in (
                    (compute_gradients, options.threads, alone),
                    (leader.compute, max(1, cores // options.processes), together),
                ):
                    torch.set_num_threads(threads)
                    before = processes.bytes_exchanged
                    start = time.perf_counter()
                    compute(model, condition, Objective(), portions, PlainBackward(), 0)
                    seconds.append(time.perf_counter() - start)
                    found = [parameter.grad for parameter in parameters]
                    if compute is compute_gradients:
                        exact = found
                    for parameter in parameters:
                        parameter.grad = None
            exchanged = processes.bytes_exchanged - before
            pairs = [(a, b) for a, b in zip(exact, found, strict=True) if a is not None and b is not None]
            largest = max(float(a.abs().max()) for a, _b in pairs)
            difference = max(float((a - b).abs().max()) for a, b in pairs) / largest
            one, both = statistics.median(alone[1:]), statistics.median(together[1:])
            print(
                f"{name} | {one:.2f} s | {both:.2f} s | {one / both:.2f} | {exchanged:,} | {difference:.1e}", flush=True
            )
            for rank in range(1, options.processes):
                processes.send(rank, Packet({"done": True}))


if __name__ == "__main__":
    os.environ.pop("OMP_NUM_THREADS", None)
    multiprocessing.set_start_method("fork")
    main()
