"""Estimates of memory and time before a run starts, and which method suits.

`step_cost` counts what a training step keeps in memory and computes, on torch's meta device, and `image_cost` what an
image computes; `step_cache` keeps the former. `memory` turns them into bytes and `speed` into seconds; `forecast`
compares a run's memory with what is free; `packing_gain` measures what packed convolutions save; `recommend` compares
the methods for `tetrad recommend`.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "forecast": ["MemoryForecast", "count_parts", "forecast_memory", "take_part"],
        "image_cost": ["ImageCost", "estimate_image_seconds", "measure_image_cost"],
        "memory": [
            "FLOAT32_BYTES",
            "Copies",
            "MemoryOptions",
            "as_memory_error",
            "count_optimizer_bytes",
            "list_memory_options",
        ],
        "packing_gain": ["measure_packing_gain"],
        "recommend": ["MethodEstimate"],
        "speed": ["SMALL_RESOLUTION", "DeviceSpeed", "estimate_step_seconds", "measure_device_speed"],
        "step_cache": ["recall_step_cost"],
        "step_cost": ["StepCost", "attach_without_memory", "copy_to_meta", "measure_step_cost"],
    },
)
