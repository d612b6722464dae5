"""What each process holds where processes divide the weights of DreamBooth: `python -m bench.sharding`.

A model with 137 M parameters in the U-Net (bench/model.py), in float32 on a CPU: three updates of two images at
16 × 16 latents, by one process, and by as many as `--processes` says with and without sharding. It prints the bytes
of the trained weights and of the optimizer's state after the updates, the own memory of each process (not shared with
others, less what it had before the model was opened, without free memory that the allocator keeps), and the seconds of
the fastest update.
"""

import argparse
import ctypes
import gc
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor
from torch.optim import Optimizer

from bench.model import write_model
from tetrad import library
from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator
from tetrad.methods import DreamBooth
from tetrad.methods.base import behavior_of, parameters_of
from tetrad.models.device import DeviceSpec
from tetrad.run.processes.team import connect
from tetrad.run.processes.world import World
from tetrad.training.caption_cache import maybe_cache
from tetrad.training.gradients import compute_gradients
from tetrad.training.loop import training_steps
from tetrad.training.optimizers import create_optimizer
from tetrad.training.processes import Packet
from tetrad.training.sharded_follower import ShardedFollower
from tetrad.training.sharded_training import ShardedAdapter, ShardedLeader, UpdateSettings
from tetrad.training.shared_gradients import Follower, Leader

CPU = DeviceSpec(torch.device("cpu"), torch.float32)
SETTINGS = UpdateSettings("adamw", 0.01, [], "", 1.0, 0.0)
UPDATES, IMAGES, SIDE = 3, 2, 16
MB = 1_000_000


def measure(rank: int, count: int, sharded: bool, model_path: str, store: str, found: Any) -> None:
    torch.set_num_threads(1)
    before = measure_own_memory()
    model = library.load_model(model_path)
    adapter: Any = behavior_of(DreamBooth).attach(DreamBooth(), model, generator(0, 0, "method"))
    seconds: list[float] = []
    optimizer: Optimizer | None = None
    if count == 1:
        parameters = parameters_of(adapter)
        optimizer = update(model, adapter, None, seconds)
    else:
        processes = connect(World(rank, count, rank), CPU, Path(store))
        if rank == 0:
            leader = ShardedLeader(processes, model) if sharded else Leader(processes, parameters_of(adapter))
            if isinstance(leader, ShardedLeader):
                adapter = ShardedAdapter(adapter, leader.shards, leader)
            parameters = parameters_of(adapter)
            optimizer = update(model, adapter, leader, seconds)
            for other in range(1, count):
                processes.send(other, Packet({"end": True}))
        else:
            follower: Follower | ShardedFollower
            if sharded:
                follower = ShardedFollower(processes, model, Objective(), adapter, SETTINGS, lambda: None)
                parameters, optimizer = follower.shards.parameters, follower.optimizer
            else:
                parameters = parameters_of(adapter)
                follower = Follower(processes, model, Objective(), parameters, lambda: None)
            while "end" not in (packet := processes.receive()).values:
                follower.follow(packet, CPU.device)
    own = measure_own_memory() - before
    found.put((rank, count_bytes(parameters), count_bytes(state_of(optimizer)), own, min(seconds, default=0.0)))


def measure_own_memory() -> int:
    """Bytes, on Linux with glibc."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_full_info().uss)


def update(model: Any, adapter: Any, leader: Leader | None, seconds: list[float]) -> Optimizer:
    optimizer = create_optimizer("adamw", adapter.groups(), SETTINGS.weight_decay)
    latents = torch.randn(IMAGES, 4, SIDE, SIDE, generator=generator(0, 0, "z"))
    batch = Batch(latents, ("a zkr",) * IMAGES, torch.ones(IMAGES))
    start = time.perf_counter()
    for step in training_steps(
        model,
        maybe_cache(model, model.condition),
        Objective(),
        [[batch]] * UPDATES,
        optimizer,
        seed=0,
        compute=leader.compute if leader else compute_gradients,
        measure_norm=leader.shards.measure_norm if isinstance(leader, ShardedLeader) else None,
    ):
        assert not step.has_diverged
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    return optimizer


def state_of(optimizer: Optimizer | None) -> list[Tensor]:
    states = optimizer.state.values() if optimizer else ()
    return [value for state in states for value in state.values() if isinstance(value, Tensor)]


def count_bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    count = parser.parse_args().processes
    context = multiprocessing.get_context("spawn")
    print("processes | sharding | process | weights | optimizer state | own memory | fastest update")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        write_model(path)
        for number, sharded in ((1, False), (count, False), (count, True)):
            store = str(Path(folder) / f"store-{number}-{sharded}")
            found = context.Queue()
            children = [
                context.Process(target=measure, args=(rank, number, sharded, str(path), store, found))
                for rank in range(number)
            ]
            for child in children:
                child.start()
            for rank, weights, state, own, seconds in sorted(found.get(timeout=300) for _child in children):
                sizes = " | ".join(f"{size / MB:.0f} MB" for size in (weights, state, own))
                print(f"{number} | {'full' if sharded else 'none'} | {rank} | {sizes} | {seconds:.1f} s", flush=True)
            for child in children:
                child.join()


if __name__ == "__main__":
    main()
