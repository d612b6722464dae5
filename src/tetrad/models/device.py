"""The device and dtype of a run, and the memory it has."""

import gc
import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil
import torch

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.models.base import Model, denoiser_of, move_networks


@dataclass(frozen=True)
class DeviceSpec:
    """A device, and the dtype of frozen weights on it."""

    device: torch.device
    dtype: torch.dtype


Precision = Literal["auto", "fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# With fewer U-Net parameters than this, CPU threads wait for each other longer than they compute.
SINGLE_THREAD_MAX_PARAMETERS = 50_000_000


def move_to(model: Model, device_spec: DeviceSpec, full_precision_parts: Collection[str] = ()) -> None:
    """Move a model to its device; a small one on a CPU then uses one thread, unless OMP_NUM_THREADS is set.

    Full-precision parts stay in float32, since they are trained.

    Measured on two cores: a step of the demo took 0.56 s with two threads that sleep while waiting, 0.14 s with one.
    """
    move_networks(model, device_spec.device, device_spec.dtype, full_precision_parts)
    if (
        device_spec.device.type == "cpu"
        and count_unet_parameters(model) < SINGLE_THREAD_MAX_PARAMETERS
        and "OMP_NUM_THREADS" not in os.environ
    ):
        torch.set_num_threads(1)


def count_unet_parameters(model: Model) -> int:
    """The number of parameters of its U-Net."""
    return sum(parameter.numel() for parameter in denoiser_of(model).parameters())


def select_device(name: str = "auto", precision: Precision = "auto") -> DeviceSpec:
    """The device called `name`, or the best one for "auto", and the dtype to compute in.

    The dtype for "auto" is bfloat16 on a GPU that supports it, float16 on other GPUs, and float32 elsewhere, because a
    CPU emulates half precision. Raises E8001 for a device that this machine or this build of torch does not have.
    """
    availability: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    if name == "auto":
        name = next(device_type for device_type, is_available in availability.items() if is_available())
    device_type = name.partition(":")[0]
    if device_type not in availability or not availability[device_type]():
        raise TetradError(
            "E8001",
            _("there is no device '{device}' on this machine; it has {available}"),
            device=name,
            available=", ".join(known for known, is_available in availability.items() if is_available()),
        )
    return DeviceSpec(
        torch.device(name), DTYPES[_preferred_precision(device_type) if precision == "auto" else precision]
    )


def describe_device(device: torch.device) -> str:
    """`cpu`, `mps`, or a GPU with its name: `cuda (NVIDIA GeForce RTX 4090)`."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def select_generation_device(name: str = "auto") -> DeviceSpec:
    """The device to generate on; float16 on a GPU, so that a seed gives the same image everywhere.

    Measured on an H200 after 20 steps of Euler a, compared with float32 on a CPU: pixels (0 to 255) differ by at most 2
    in float32, 3 in float16, 52 in bfloat16.
    """
    device_spec = select_device(name)
    return replace(device_spec, dtype=torch.float16) if device_spec.device.type == "cuda" else device_spec


def dtype_of(precision: str) -> torch.dtype:
    """The dtype called fp32, bf16 or fp16.  E3103 for anything else."""
    if precision not in DTYPES:
        raise TetradError("E3103", _("the precision must be fp32, bf16 or fp16, not {precision}"), precision=precision)
    return DTYPES[precision]


def _preferred_precision(device_type: str) -> Precision:
    """The default precision of a device type."""
    if device_type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def get_free_memory(device: torch.device) -> int:
    """Bytes that this program can use, including what it already uses; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    if device.type != "cpu":
        return 0
    limits = [int(text) for path in _CONTAINER_LIMIT_FILES if (text := _read_system_file(path)).isdigit()]
    return min([int(psutil.virtual_memory().available + psutil.Process().memory_info().rss), *limits])


def measure_peak_memory() -> int:
    """The most bytes that this process has held: of the GPU where it used one, else of the computer's memory."""
    if torch.cuda.is_available() and (reserved := torch.cuda.max_memory_reserved()):
        return reserved
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # which Windows does not have

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# The memory limit of a container, on Linux.
_CONTAINER_LIMIT_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def _read_system_file(path: str) -> str:
    """The text of a system file; "" if it cannot be read."""
    try:
        return Path(path).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def is_memory_error(error: Exception) -> bool:
    """Whether an error says that memory has run out, on an accelerator or in the allocator of the CPU."""
    words = ("out of memory", "not enough memory", "allocate memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(each in str(error) for each in words)


def free_memory(device: torch.device) -> None:
    """Give back what is not used any more, after memory has run out."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def enable_gradient_checkpointing(model: Model) -> None:
    """Recompute activations in the backward pass instead of keeping them: less memory, about a third more time."""
    from tetrad.models.networks import ModelMixin

    for part in model.parts().values():
        if isinstance(part, ModelMixin):
            part.enable_gradient_checkpointing()
