"""The duration of a training step or an image, estimated from its operations and a benchmark of about a second."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from tetrad.estimate.step_cost import StepCost

SMALL_RESOLUTION = 128  # pixels; images up to this size are cheap to train on and to generate on any machine
# Share of a step's time in the layers of the benchmark; attention and small layers take the rest.
_MEASURED_TIME_SHARE = 0.7
_CHECKPOINTING_TIME_FACTOR = 4 / 3  # gradient checkpointing runs the forward twice


@dataclass(frozen=True)
class DeviceSpeed:
    """Measured speed of a device."""

    operations_per_second: float  # in the layers of a U-Net
    weights_per_second: float  # parameters updated by AdamW


def estimate_step_seconds(step: StepCost, device_speed: DeviceSpeed, gradient_checkpointing: bool = False) -> float:
    """The duration of one step, accurate to about a third, since layers differ in how fast they run on a device."""
    compute_seconds = estimate_seconds(step.operations, device_speed)
    compute_seconds *= _CHECKPOINTING_TIME_FACTOR if gradient_checkpointing else 1
    return compute_seconds + sum(shape.numel() for shape in step.trainable_shapes) / device_speed.weights_per_second


def estimate_seconds(operations: int, device_speed: DeviceSpeed) -> float:
    """The duration of operations of a whole model."""
    return operations / device_speed.operations_per_second / _MEASURED_TIME_SHARE


def measure_device_speed(
    device: torch.device, dtype: torch.dtype, width: int, side: int, batch_size: int = 1
) -> DeviceSpeed:
    """Measure a device on layers of a U-Net's first three levels, for `width` channels and `side` × `side` latents."""
    levels = [_make_benchmark_layers(width << n, max(4, side >> n), batch_size) for n in range(3)]
    operations = sum(operations for _, operations in levels)
    modules = [layers.to(device, dtype) for layers, _ in levels]
    inputs = [
        torch.randn(batch_size, width << n, max(4, side >> n), max(4, side >> n), device=device, dtype=dtype)
        for n in range(3)
    ]

    def compute() -> None:
        for layers, x in zip(modules, inputs, strict=True):
            layers(x.requires_grad_()).sum().backward()

    weight = nn.Parameter(torch.zeros(1 << 22, device=device))
    weight.grad = torch.ones_like(weight)
    optimizer = torch.optim.AdamW([weight], fused=True)
    return DeviceSpeed(
        operations / _measure_best_time(compute, device), weight.numel() / _measure_best_time(optimizer.step, device)
    )


def _make_benchmark_layers(width: int, side: int, batch_size: int) -> tuple[nn.Module, int]:
    """Two convolutions and a feed-forward layer, frozen, and the operations of their forward and backward."""
    layers = nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU(),
        nn.Conv2d(width, 4 * width, 1), nn.GELU(), nn.Conv2d(4 * width, width, 1),
    )  # fmt: skip
    positions = batch_size * side * side
    return layers.requires_grad_(False), 2 * 2 * positions * (2 * 9 + 2 * 4) * width**2


def _measure_best_time(work: Callable[[], object], device: torch.device) -> float:
    """The shortest of three runs, after one for warm-up."""
    times = []
    for _ in range(4):
        _wait_for_device(device)
        start = time.perf_counter()
        work()
        _wait_for_device(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _wait_for_device(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
