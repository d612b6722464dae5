"""The memory that training needs, estimated from the counts of `step_cost`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import torch

from tetrad.errors import TetradError
from tetrad.estimate.step_cost import BFLOAT16_BYTES, StepCost
from tetrad.locales import _
from tetrad.models.device import is_memory_error
from tetrad.models.packed_convolutions import COPIES
from tetrad.models.quantized_layers import BITS
from tetrad.settings.optimizers import get_facts

GIB = 1 << 30
FLOAT32_BYTES = 4
# Share of the activations kept with gradient checkpointing: measured on Stable Diffusion 1 at 512 and 768 pixels.
_CHECKPOINTING_SHARE = 0.25
# What the backward holds for a moment, gradients of activations and workspaces, as a share of what the forward keeps
# without checkpointing; and the share that is still kept when the deepest layers, which have most weights, have their
# gradients. Both are fitted to the rows of bench/memory.py.
_IN_FLIGHT_SHARE, _SHALLOW_SHARE = 0.3, 0.5
# Holes that the heap of a CPU has where weights are trained in half precision, as a share of what these weights need in
# it: fitted to the rows of bench/memory.py; they are gone where malloc gives every large tensor back.
_HOLES_SHARE = 0.75
_PROCESS_BYTES = GIB // 2  # Python and its libraries, measured
# Two blocks, of which one is computed, the buffer in which the next arrives, and gradients of a block; assumed.
_WHOLE_BLOCKS = 4
_GPU_DRIVER_BYTES = 3 * GIB // 4  # a GPU's context and the workspaces of its kernels, assumed


@dataclass(frozen=True)
class MemoryEstimate:
    """Estimated memory by use, in bytes."""

    frozen: int  # weights that are not trained
    trainable: int
    gradients: int
    optimizer: int
    activations: int  # kept by the forward
    shallow_activations: int  # those of them that are kept when the deepest layers have their gradients
    in_flight: int  # held by the backward for a moment
    other: int
    blocks: int = 0  # what is whole within a step, where processes divide the weights
    whole: int = 0  # the weights that process 0 gathers between steps, where they are divided

    @property
    def total(self) -> int:
        """The peak: where the backward begins, or where the deepest layers have their gradients, or between steps."""
        constant = self.frozen + self.trainable + self.optimizer + self.other
        backward = max(self.activations, self.gradients + self.shallow_activations)
        return constant + max(self.in_flight + backward + self.blocks, self.whole)

    def divide(self, processes: int, block_bytes: int) -> "MemoryEstimate":
        """That of a process where so many divide weights, gradients and optimizer state; of the largest block."""
        return replace(
            self,
            trainable=self.trainable // processes,
            gradients=self.gradients // processes,
            optimizer=self.optimizer // processes,
            blocks=_WHOLE_BLOCKS * block_bytes,
            whole=self.trainable,
        )


def estimate_memory(
    step: StepCost,
    device: torch.device,
    dtype: torch.dtype,
    optimizer: str = "adamw",
    *,
    fused_backward: bool = False,
    gradient_checkpointing: bool = False,
    quantize_base: str = "none",
    offload_text_encoders: bool = True,
) -> MemoryEstimate:
    """The memory of training on a device: frozen weights in `dtype`, trainable ones in float32 or in bfloat16.

    The VAE is offloaded. So are text encoders once captions are cached, unless they are trained or
    `offload_text_encoders` is false. On a CPU nothing can be offloaded.
    """
    offloaded = step.offloadable_parameters if offload_text_encoders and device.type != "cpu" else 0
    sizes = [shape.numel() for shape in step.trainable_shapes]
    largest = max(sizes, default=0)
    # Weights in bfloat16 and their gradients are float32 while they are updated, one tensor after the other; autocast
    # keeps a half-precision copy of weights in float32 from the forward on.
    updated_bytes = 2 * FLOAT32_BYTES * largest if step.trainable_bytes < FLOAT32_BYTES else 0
    copied_bytes = dtype.itemsize * sum(sizes) if dtype.itemsize < step.trainable_bytes else 0
    saved_bytes = dtype.itemsize * step.saved_elements + (FLOAT32_BYTES - dtype.itemsize) * step.saved_float32_elements
    kept_bytes = saved_bytes * (_CHECKPOINTING_SHARE if gradient_checkpointing else 1)
    frozen = dtype.itemsize * (step.frozen_parameters - offloaded)
    if quantize_base != "none":  # the weights of one layer at a time are restored
        frozen -= round((dtype.itemsize - BITS[quantize_base] / 8) * step.quantizable_parameters)
        frozen += dtype.itemsize * step.largest_quantizable
    other = _GPU_DRIVER_BYTES
    if device.type == "cpu":
        is_half = dtype.itemsize < FLOAT32_BYTES
        other = _PROCESS_BYTES + round(_HOLES_SHARE * is_half * dtype.itemsize * sum(sizes))
    return MemoryEstimate(
        frozen=frozen,
        trainable=step.trainable_bytes * sum(sizes),
        gradients=step.trainable_bytes * (largest if fused_backward else sum(sizes)) + updated_bytes,
        optimizer=count_optimizer_bytes(step.trainable_shapes, optimizer),
        activations=round(kept_bytes) + copied_bytes,
        shallow_activations=round(_SHALLOW_SHARE * kept_bytes),
        in_flight=round(_IN_FLIGHT_SHARE * saved_bytes),
        other=other,
    )


@dataclass(frozen=True)
class Copies:
    """The copies of weights that a run keeps."""

    average: bool = False  # an EMA, in float32
    original: bool = False  # the trained parts of the model itself as they were, in its precision
    packed: bool = False  # the weights of frozen convolutions, packed

    def count_bytes(self, step: StepCost, dtype: torch.dtype) -> int:
        average = FLOAT32_BYTES * sum(shape.numel() for shape in step.trainable_shapes)
        elements = self.original * step.model_parameters_trained + self.packed * COPIES * step.packable_parameters
        return self.average * average + dtype.itemsize * elements


@dataclass(frozen=True)
class MemoryOptions:
    """Settings that reduce memory."""

    gradient_checkpointing: bool = False
    fused_backward: bool = False
    optimizer: str = "adamw"
    bf16_weights: bool = False  # of a method that has them
    quantize_base: str = "none"  # as the run has it; no option of the ladder

    @property
    def flags(self) -> tuple[str, ...]:
        """The command-line options for these settings, where they differ from the defaults."""
        is_enabled = {
            "train.gradient_checkpointing=true": self.gradient_checkpointing,
            "train.fused_backward=true": self.fused_backward,
            f"train.optimizer={self.optimizer}": self.optimizer != "adamw",
            "method.bf16_weights=true": self.bf16_weights,
        }
        return tuple(f"--set {key}" for key, enabled in is_enabled.items() if enabled)

    def estimate(self, step: StepCost, device: torch.device, dtype: torch.dtype) -> MemoryEstimate:
        """The memory of training with these settings."""
        settings = {"fused_backward": self.fused_backward, "gradient_checkpointing": self.gradient_checkpointing}
        if self.bf16_weights:
            step = replace(step, trainable_bytes=BFLOAT16_BYTES)
        return estimate_memory(step, device, dtype, self.optimizer, quantize_base=self.quantize_base, **settings)


_LADDER = (MemoryOptions(), MemoryOptions(True), MemoryOptions(True, True), MemoryOptions(True, True, "adafactor"))


def list_memory_options(
    step: StepCost, dtype: torch.dtype, allows_bf16_weights: bool = True, quantize_base: str = "none"
) -> Iterator[MemoryOptions]:
    """From no change to the least memory; weights in bfloat16 come last, because they are less exact.

    They need computation in bfloat16 and a method that has them; not `allows_bf16_weights` where a run has an EMA or
    several processes.
    """
    ladder = [replace(each, quantize_base=quantize_base) for each in _LADDER]
    yield from ladder
    are_new = step.takes_bf16_weights and step.trainable_bytes > BFLOAT16_BYTES
    if allows_bf16_weights and are_new and dtype == torch.bfloat16:
        yield replace(ladder[-1], bf16_weights=True)


def choose_memory_options(
    step: StepCost,
    device: torch.device,
    dtype: torch.dtype,
    memory_limit: int,
    allows_bf16_weights: bool = True,
    quantize_base: str = "none",
) -> tuple[MemoryOptions, int]:
    """The first of `list_memory_options` that fits `memory_limit` bytes (0: no limit), else the last; and its bytes."""
    for options in list_memory_options(step, dtype, allows_bf16_weights, quantize_base):
        needed_bytes = options.estimate(step, device, dtype).total
        if not memory_limit or needed_bytes <= memory_limit:
            break
    return options, needed_bytes


def count_optimizer_bytes(shapes: Iterable[torch.Size], optimizer: str) -> int:
    """Bytes of an optimizer's state for parameters of these shapes."""
    count = _COUNTERS.get(optimizer) or partial(_count_floats, get_facts(optimizer).floats)
    return sum(count(shape) for shape in shapes)


def _count_floats(floats: float, shape: torch.Size) -> int:
    return round(floats * FLOAT32_BYTES * shape.numel())


def _count_adamw_8bit_bytes(shape: torch.Size) -> int:
    """For each of two moments a byte per parameter and a float32 per block of 256; small tensors stay in float32."""
    elements = shape.numel()
    return 2 * (elements + FLOAT32_BYTES * -(-elements // 256)) if elements >= 4096 else _count_floats(2, shape)


def _count_factored_bytes(shape: torch.Size) -> int:
    """A second moment as a row and a column."""
    if len(shape) < 2:
        return FLOAT32_BYTES * shape.numel()
    return FLOAT32_BYTES * prod(shape[:-2]) * (shape[-2] + shape[-1])


def _count_came_bytes(shape: torch.Size) -> int:
    """A first moment in full, the second moment and that of the residuals factored."""
    return _count_floats(1, shape) + (2 if len(shape) > 1 else 1) * _count_factored_bytes(shape)


def _count_prodigy_plus_bytes(shape: torch.Size) -> int:
    """The averaged weights, a second moment factored at its two largest sides, and two bf16 numbers in 11."""
    *_smaller, second, largest = 1, *sorted(shape)
    is_factored = len(shape) > 1 and largest >= 32
    moment = shape.numel() // largest + shape.numel() // second if is_factored else shape.numel()
    return FLOAT32_BYTES * (shape.numel() + moment) + 2 * 2 * -(-shape.numel() // 11)


_COUNTERS: Mapping[str, Callable[[torch.Size], int]] = {
    "adamw8bit": _count_adamw_8bit_bytes,
    "adafactor": _count_factored_bytes,
    "came": _count_came_bytes,
    "prodigyplusschedulefree": _count_prodigy_plus_bytes,
}


def as_memory_error(error: Exception) -> Exception:
    """E6001 for an out-of-memory error, any other error unchanged."""
    if isinstance(error, TetradError) or not is_memory_error(error):
        return error
    return TetradError(
        "E6001",
        _(
            "there is not enough memory for a training step; use --batch-size 1, --set"
            " train.gradient_checkpointing=true or a smaller data.resolution"
        ),
    )
