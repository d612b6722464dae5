"""The estimated memory of a run, with and without gradient checkpointing, and the free memory."""

from dataclasses import dataclass

from tetrad.estimate.memory import FLOAT32_BYTES, Copies, MemoryEstimate, MemoryOptions, choose_memory_options
from tetrad.estimate.step_cache import recall_step_cost
from tetrad.methods.settings import MethodSettings
from tetrad.models import device as devices
from tetrad.models.base import Model
from tetrad.models.device import DeviceSpec
from tetrad.models.network_blocks import count_largest_block
from tetrad.settings import Train


@dataclass(frozen=True)
class MemoryForecast:
    """Bytes that a step needs (estimated), and free bytes, 0 where they are unknown."""

    needed_bytes: int
    checkpointed_bytes: int
    free_bytes: int
    cheapest_options: tuple[MemoryOptions, int]  # the first options that fit, else the most frugal; and their bytes
    packing_bytes: int = 0  # that packed convolutions need besides

    def fits(self, gradient_checkpointing: bool, more_bytes: int = 0) -> bool:
        """Whether the run fits with or without gradient checkpointing, and more beside it, as far as that is known."""
        needed = self.checkpointed_bytes if gradient_checkpointing else self.needed_bytes
        return not self.free_bytes or needed + more_bytes <= self.free_bytes


def forecast_memory(
    model: Model,
    method: MethodSettings,
    train: Train,
    resolution: int,
    batch_size: int,
    device: DeviceSpec,
    keeps_original: bool = False,
) -> MemoryForecast | None:
    """The memory that a step of a run needs; None for a small model, where an estimate is not worth its time.

    `keeps_original` where the run preserves other images, or is scored by images: both compare with the model before.
    """
    if devices.count_unet_parameters(model) < devices.SINGLE_THREAD_MAX_PARAMETERS:
        return None
    step = recall_step_cost(model, method, resolution, resolution, batch_size)
    free_bytes = devices.get_free_memory(device.device)
    parts = count_parts(train.processes, train.sharding)
    copied_bytes = Copies(train.ema > 0, keeps_original).count_bytes(step, device.dtype) // parts

    def count_needed(checkpointed: bool) -> int:
        options = MemoryOptions(checkpointed, train.fused_backward, train.optimizer, quantize_base=train.quantize_base)
        return take_part(options.estimate(step, device.device, device.dtype), model, parts).total + copied_bytes

    limit, is_alone = max(1, free_bytes - copied_bytes), train.ema == 0 and train.processes == 1
    options, least_bytes = choose_memory_options(
        step, device.device, device.dtype, limit, is_alone, train.quantize_base
    )
    cheapest = options, least_bytes + copied_bytes
    packing_bytes = Copies(packed=True).count_bytes(step, device.dtype)
    return MemoryForecast(count_needed(False), count_needed(True), free_bytes, cheapest, packing_bytes)


def count_parts(processes: int, sharding: str) -> int:
    """Into how many parts the processes of a run divide what is trained."""
    return processes if sharding == "full" else 1


def take_part(estimate: MemoryEstimate, model: Model, parts: int) -> MemoryEstimate:
    """The memory of a process that has one of so many parts."""
    return estimate.divide(parts, FLOAT32_BYTES * count_largest_block(model)) if parts > 1 else estimate
