"""Where a run happens and in which numbers."""

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from diffusers import ModelMixin

from tetrad.errors import TetradError
from tetrad.models.base import Model, to


@dataclass(frozen=True)
class Device:
    """A device, and the numbers its frozen weights are kept in."""

    device: torch.device
    dtype: torch.dtype


Precision = Literal["auto", "fp32", "bf16", "fp16"]
NUMBERS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SMALL = 50_000_000  # parameters of a U-Net below which a CPU's threads wait for each other more than they work


def settle(model: Model, place: Device, whole: Collection[str] = ()) -> None:
    """Put a model where it will run, and give a small one on a CPU one thread unless OMP_NUM_THREADS asks for more.

    The `whole` parts keep all their digits, since they are to learn.

    Measured on two cores: a step of the demo took 0.56 s on two threads that sleep while they wait, 0.14 s on one.
    """
    to(model, place.device, place.dtype, whole)
    if place.device.type == "cpu" and parameters(model) < SMALL and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def parameters(model: Model) -> int:
    """How many numbers its U-Net has."""
    return sum(parameter.numel() for parameter in model.parts()["unet"].parameters())


def chosen(name: str = "auto", precision: Precision = "auto") -> Device:
    """The device called `name` or the best there is, and the numbers to compute in.

    Those are by themselves bfloat16 where a GPU has it, else float16 on a GPU, else float32: a CPU has to emulate them.
    Raises E8001 for a device that this machine or this build of torch does not have.
    """
    available: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    if name == "auto":
        name = next(kind for kind, there in available.items() if there())
    kind = name.partition(":")[0]
    if kind not in available or not available[kind]():
        there = ", ".join(kind for kind, is_there in available.items() if is_there())
        raise TetradError("E8001", f"there is no device {name!r} here; this machine has {there}")
    return Device(torch.device(name), NUMBERS[own(kind) if precision == "auto" else precision])


def for_drawing(name: str = "auto") -> Device:
    """The device to draw on; on a GPU in float16, for a seed is to be the same picture everywhere.

    Measured on an H200, 20 steps of Euler a beside a CPU's float32, of 255: float32 moves a pixel by 2 at most,
    float16 by 3, bfloat16 by 52.
    """
    place = chosen(name)
    return replace(place, dtype=torch.float16) if place.device.type == "cuda" else place


def numbers(precision: str) -> torch.dtype:
    """The numbers called fp32, bf16 or fp16.  E3103 for anything else."""
    if precision not in NUMBERS:
        raise TetradError("E3103", f"the precision must be fp32, bf16 or fp16, not {precision}")
    return NUMBERS[precision]


def own(kind: str) -> Precision:
    """The numbers a device is best at."""
    if kind != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def free(device: torch.device) -> int:
    """Bytes that this program may fill, what it has filled already included; 0 where nobody tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    if device.type != "cpu":
        return 0
    limits = [int(text) for path in LIMITS if (text := written(path)).isdigit()]
    return min([available() + resident(), *limits]) if available() else 0


LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


def available() -> int:
    """Bytes of main memory that no program needs."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", written("/proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def resident() -> int:
    """Bytes of it that this program has."""
    pages = written("/proc/self/statm").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else 0


def written(path: str) -> str:
    """What a file of the system says; nothing where there is none."""
    try:
        return Path(path).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def checkpointed(model: Model) -> None:
    """Compute activations again in the backward instead of keeping them: less memory for a third more time."""
    for part in model.parts().values():
        if isinstance(part, ModelMixin):
            part.enable_gradient_checkpointing()
