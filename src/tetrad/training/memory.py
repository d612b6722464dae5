"""How much memory a training will take, from a step that was only counted."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch

from tetrad.errors import TetradError
from tetrad.training.dry_step import DryStep
from tetrad.training.optimizers import Name

GIB = 1 << 30
SINGLE = 4  # bytes of a float32
CHECKPOINTS = 0.25  # of what is kept, with gradient checkpointing: measured on Stable Diffusion 1 at 512 and 768 pixels
PROGRAM = GIB // 2  # of Python and its libraries, as measured
DRIVER = 3 * GIB // 4  # of a GPU's context and the workspaces of its kernels; assumed


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    frozen: int  # weights that do not learn
    learned: int
    gradients: int
    optimizer: int
    activations: int
    other: int

    @property
    def total(self) -> int:
        """At the worst moment: gradients grow while activations are freed, so never all of both are there."""
        standing = self.frozen + self.learned + self.optimizer + self.other
        return standing + max(self.gradients, self.activations)


def memory(
    step: DryStep,
    device: torch.device,
    dtype: torch.dtype,
    optimizer: Name = "adamw",
    *,
    in_backward: bool = False,
    checkpointed: bool = False,
    texts_rest: bool = True,
) -> Memory:
    """What training will take on a device: frozen weights in `dtype`, what learns in float32.

    The VAE rests, and text encoders too once captions are remembered, unless they learn or `texts_rest` is false. On a
    CPU there is no other place for them to rest in.
    """
    gone = step.resting if texts_rest and device.type != "cpu" else 0
    sizes = [shape.numel() for shape in step.learned]
    half = dtype != torch.float32
    kept = dtype.itemsize * step.kept + (SINGLE - dtype.itemsize) * step.kept_single
    return Memory(
        frozen=dtype.itemsize * (step.frozen - gone),
        learned=SINGLE * sum(sizes),
        gradients=SINGLE * (max(sizes, default=0) if in_backward else sum(sizes)),
        optimizer=states(step.learned, optimizer),
        # Under autocast what learns is kept in half precision too, from the forward on.
        activations=round(kept * (CHECKPOINTS if checkpointed else 1)) + (dtype.itemsize * sum(sizes) if half else 0),
        other=PROGRAM if device.type == "cpu" else DRIVER,
    )


@dataclass(frozen=True)
class Savers:
    """Ways to need less memory, from the one that costs nothing on."""

    checkpointed: bool = False
    in_backward: bool = False
    optimizer: Name = "adamw"

    @property
    def flags(self) -> tuple[str, ...]:
        set_ = {
            "train.gradient_checkpointing=true": self.checkpointed,
            "train.fused_backward=true": self.in_backward,
            f"train.optimizer={self.optimizer}": self.optimizer != "adamw",
        }
        return tuple(f"--set {key}" for key, wanted in set_.items() if wanted)


LADDER = (Savers(), Savers(True), Savers(True, True), Savers(True, True, "adafactor"))


def cheapest(step: DryStep, device: torch.device, dtype: torch.dtype, limit: int) -> tuple[Savers, int]:
    """The first rung of the ladder that fits into so many bytes, and what it takes; the last one where none does."""
    for savers in LADDER:
        needed = memory(
            step,
            device,
            dtype,
            savers.optimizer,
            in_backward=savers.in_backward,
            checkpointed=savers.checkpointed,
        ).total
        if not limit or needed <= limit:
            break
    return savers, needed


def states(shapes: Iterable[torch.Size], optimizer: Name) -> int:
    """Bytes of what an optimizer remembers of each number that learns."""
    kinds = {"adamw": two_averages, "adamw8bit": two_small_averages, "adafactor": rows_and_columns}
    return sum(kinds[optimizer](shape) for shape in shapes)


def two_averages(shape: torch.Size) -> int:
    return 2 * SINGLE * shape.numel()


def two_small_averages(shape: torch.Size) -> int:
    """A byte a number and a float32 a block of 256; small tensors stay as they are."""
    numbers = shape.numel()
    return 2 * (numbers + SINGLE * -(-numbers // 256)) if numbers >= 4096 else two_averages(shape)


def rows_and_columns(shape: torch.Size) -> int:
    if len(shape) < 2:
        return SINGLE * shape.numel()
    return SINGLE * prod(shape[:-2]) * (shape[-2] + shape[-1])


def human(size: int) -> str:
    """Bytes as a person says them."""
    for unit, bytes_ in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} B"


def explained(error: Exception) -> Exception:
    """E6001 where an error says that there is no memory left, else the error as it is."""
    said = any(words in str(error) for words in ("out of memory", "not enough memory", "allocate memory"))
    short = isinstance(error, MemoryError | torch.OutOfMemoryError) or said
    if isinstance(error, TetradError) or not short:
        return error
    ways = "--batch-size 1, --set train.gradient_checkpointing=true, or a smaller data.resolution"
    return TetradError("E6001", f"there is not enough memory for a step; {ways} would need less")
