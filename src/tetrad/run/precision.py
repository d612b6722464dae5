"""The dtype that a run computes in where its recipe leaves that open."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from tetrad import library
from tetrad.builtin import resolve_model_path
from tetrad.errors import TetradError
from tetrad.estimate.speed import measure_device_speed
from tetrad.models.device import (
    SINGLE_THREAD_MAX_PARAMETERS,
    DeviceSpec,
    Precision,
    count_unet_parameters,
    select_device,
)

_PROBE_WIDTH, _PROBE_SIDE = 128, 32  # channels and latents of the layers that are measured: less than a second
_WORTH_IT = 1.2  # times as fast as float32, so that noise of the measurement does not decide


def select_training_device(name: str, precision: Precision, model: str) -> DeviceSpec:
    """The device called `name` and the dtype of a model's frozen weights on it.  E8001 for one that is not there.

    With the precision "auto", a large model is trained in bfloat16 also on a CPU that computes in it natively and is
    faster with it, which is measured. A small model gains nothing.
    """
    device = select_device(name, precision)
    on_cpu = precision == "auto" and device.device.type == "cpu"
    if on_cpu and has_native_bfloat16() and _is_large(model) and measure_bfloat16_gain() >= _WORTH_IT:
        return replace(device, dtype=torch.bfloat16)
    return device


def has_native_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16 itself (AVX512-BF16 or AMX); others emulate it."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch has no public name for them
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


@cache
def measure_bfloat16_gain() -> float:
    """The speed of layers of a U-Net in bfloat16, forward and backward, over that in float32; on the CPU."""
    speeds = [
        measure_device_speed(torch.device("cpu"), dtype, _PROBE_WIDTH, _PROBE_SIDE).operations_per_second
        for dtype in (torch.bfloat16, torch.float32)
    ]
    return speeds[0] / speeds[1]


def _is_large(model: str) -> bool:
    """Whether its U-Net is one that uses several threads; False for a file that loading will report."""
    try:
        path = Path(resolve_model_path(model))
        if path.is_file() and path.stat().st_size < SINGLE_THREAD_MAX_PARAMETERS:
            return False  # with a byte a parameter or more: the networks need not be built
        with library.open_checkpoint(path) as opened:
            return count_unet_parameters(opened.build_model()) >= SINGLE_THREAD_MAX_PARAMETERS
    except (TetradError, OSError):
        return False
