"""How long a training step will take, from the operations it was counted to need and a second of measuring."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from tetrad.training.dry_step import DryStep

SHARE = 0.7  # of the time of a step goes into the layers that are measured; attention and small layers take the rest
RECOMPUTED = 4 / 3  # with gradient checkpointing the forward is done twice


@dataclass(frozen=True)
class Machine:
    """What a device did when it was measured."""

    operations: float  # a second, in the layers that a U-Net is made of
    weights: float  # updated by AdamW a second


def seconds(step: DryStep, machine: Machine, checkpointed: bool = False) -> float:
    """Of one step.  Right to about a third: layers differ in how well they suit a machine."""
    computed = step.operations * (RECOMPUTED if checkpointed else 1) / machine.operations / SHARE
    return computed + sum(shape.numel() for shape in step.learned) / machine.weights


def measured(device: torch.device, dtype: torch.dtype, width: int, side: int, batch_size: int = 1) -> Machine:
    """A machine measured on layers of a U-Net's first three levels, `width` wide on latents of `side` × `side`."""
    levels = [level(width << n, max(4, side >> n), batch_size) for n in range(3)]
    done = sum(operations for _, operations in levels)
    works = [layers.to(device, dtype) for layers, _ in levels]
    inputs = [
        torch.randn(batch_size, width << n, max(4, side >> n), max(4, side >> n), device=device, dtype=dtype)
        for n in range(3)
    ]

    def compute() -> None:
        for layers, x in zip(works, inputs, strict=True):
            layers(x.requires_grad_()).sum().backward()

    weight = nn.Parameter(torch.zeros(1 << 22, device=device))
    weight.grad = torch.ones_like(weight)
    optimizer = torch.optim.AdamW([weight], fused=True)
    return Machine(done / quickest(compute, device), weight.numel() / quickest(optimizer.step, device))


def level(width: int, side: int, batch_size: int) -> tuple[nn.Module, int]:
    """Two convolutions and a feed-forward, frozen, and the operations of their forward and backward."""
    layers = nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU(),
        nn.Conv2d(width, 4 * width, 1), nn.GELU(), nn.Conv2d(4 * width, width, 1),
    )  # fmt: skip
    places = batch_size * side * side
    return layers.requires_grad_(False), 2 * 2 * places * (2 * 9 + 2 * 4) * width**2


def quickest(work: Callable[[], object], device: torch.device) -> float:
    """The least time of three, after one that does not count."""
    times = []
    for _ in range(4):
        wait(device)
        started = time.perf_counter()
        work()
        wait(device)
        times.append(time.perf_counter() - started)
    return min(times[1:])


def wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
