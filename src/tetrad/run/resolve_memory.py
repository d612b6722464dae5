"""How an update is computed in the memory that is free: how many samples at once, checkpointing, packed weights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import torch

from tetrad.estimate.forecast import MemoryForecast
from tetrad.estimate.packing_gain import measure_packing_gain
from tetrad.locales import Message, _, ngettext
from tetrad.models import device as devices
from tetrad.models.base import Model
from tetrad.models.device import DeviceSpec
from tetrad.run.events import Note
from tetrad.run.plan import TrainPlan
from tetrad.settings import Train

# Batches of an update are joined up to so many samples. With 8 at once, a sample took 0.70 of the time that it takes
# alone, with 16 0.71 (on a CPU, a U-Net of 137 M parameters at 256 pixels); with the built-in model 0.41 and 0.40.
MAX_JOINED = 8
# Convolutions are about a quarter of a step: with a gain of 1.14 in them a step took 0.97 of the time, with 1.40 0.89.
_WORTH_PACKING = 1.15


@dataclass(frozen=True)
class MemoryPlan:
    """How an update is computed, and the memory that this is estimated to need: None for a small model."""

    samples_at_once: int
    gradient_checkpointing: bool
    forecast: MemoryForecast | None


def resolve_memory(
    train: Train, batch_samples: int, device: torch.device, forecast: Callable[[int], MemoryForecast | None]
) -> MemoryPlan:
    """As many samples at once as fit, and gradient checkpointing if not even one fits without; the recipe's is kept.

    `forecast` is asked for numbers of samples. An update has `batch_samples`, times gradient accumulation.
    """
    ways = [False, True] if train.gradient_checkpointing is None else [train.gradient_checkpointing]
    sizes = list(_list_sizes(train, batch_samples, knows_memory=devices.get_free_memory(device) > 0))
    for checkpointing, size in product(ways, sizes):
        found = forecast(size)
        if found is None:
            return MemoryPlan(size, train.gradient_checkpointing or False, None)
        if found.fits(checkpointing):
            break
    return MemoryPlan(size, checkpointing, found)


def decides_to_pack(train: Train, memory: MemoryPlan, model: Model, resolution: int, device: DeviceSpec) -> bool:
    """Whether frozen convolutions are packed: on a CPU that is faster with it, and has the memory for it.

    In several processes each would decide alone, so that none does. A small model gains nothing, and quantized weights
    are not packed.
    """
    forecast = memory.forecast
    if forecast is None or device.device.type != "cpu" or not forecast.packing_bytes:
        return False
    if train.processes > 1 or train.quantize_base != "none":
        return False
    if not forecast.free_bytes or not forecast.fits(memory.gradient_checkpointing, forecast.packing_bytes):
        return False
    side = resolution // model.vae.downsampling_factor
    return measure_packing_gain(model.width, side, memory.samples_at_once, device.dtype) >= _WORTH_PACKING


def _list_sizes(train: Train, batch_samples: int, knows_memory: bool) -> Iterator[int]:
    """The numbers of samples that may be computed at once, the best first: all of an update, or a power of two.

    A fused backward computes all at once. Batches are joined only if it is known how much memory is free.
    """
    whole = -(-batch_samples * train.gradient_accumulation // train.processes)
    most = max(batch_samples, MAX_JOINED) if knows_memory else batch_samples
    if whole <= most:
        yield whole
    if not train.fused_backward:
        yield from (1 << power for power in reversed(range(most.bit_length())) if 1 << power < whole)


def parts_notes(train: TrainPlan) -> Iterator[Note]:
    """How many images of an update are computed at once, if that is not simply a batch."""
    images = -(-train.samples_per_update // train.processes)
    if train.samples_at_once < images:
        template: str = ngettext(
            "of the {images} images of an update, {count} is computed at a time",
            "of the {images} images of an update, {count} are computed at a time",
            train.samples_at_once,
        )
        yield Note(Message(template, images=images))
    elif train.gradient_accumulation > 1 and images > 1:
        yield Note(Message(_("the {images} images of an update are computed at once"), images=images))
