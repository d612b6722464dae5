"""Where a run happens and in which numbers."""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
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
    size = sum(parameter.numel() for parameter in model.parts()["unet"].parameters())
    if place.device.type == "cpu" and size < SMALL and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


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
        raise TetradError("E8001", f"train.device is {name!r}, which is not here; this machine has {there}")
    return Device(torch.device(name), NUMBERS[own(kind) if precision == "auto" else precision])


def own(kind: str) -> Precision:
    """The numbers a device is best at."""
    if kind != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def checkpointed(model: Model) -> None:
    """Compute activations again in the backward instead of keeping them: less memory for a third more time."""
    for part in model.parts().values():
        if isinstance(part, ModelMixin):
            part.enable_gradient_checkpointing()
