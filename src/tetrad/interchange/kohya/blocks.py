"""sd-scripts' learning rates by block as factors of the U-Net's rate: network arguments and sdxl_train's block_lr."""

from collections.abc import Mapping
from typing import Any

from tetrad.interchange.job import Job
from tetrad.locales import Message, _
from tetrad.settings.field import as_number

WEIGHTS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold")
_SIDES = {"down_lr_weight": "IN", "mid_lr_weight": "MID", "up_lr_weight": "OUT"}
_DEFAULT_RATE = 2e-6


def map_block_lr(job: Job, name: str) -> None:
    """block_lr has a rate for each of 23 blocks: base, 9 input, 3 middle and 9 output blocks, and the last layers."""
    value, base = job.get(name), job.number("learning_rate") or _DEFAULT_RATE
    items = value if isinstance(value, list) else str(value or "").replace(",", " ").split()
    if not items:
        job.equal(name)
        return
    try:
        factors = [as_number(float(item) / base) for item in items]
    except (TypeError, ValueError):
        job.fail(name, Message(_("23 numbers")))
        return
    job.map(name, {"train.block_rates": ", ".join(factors)}, Message(_("each is a factor of the learning rate")))


def map_weights(job: Job, arguments: Mapping[str, Any]) -> None:
    """The factors of the network's arguments; blocks at or under the threshold are not trained."""
    threshold = _as_float(arguments.get("block_lr_zero_threshold")) or 0.0
    found: dict[str, list[str]] = {}
    for key, side in _SIDES.items():
        value = arguments.get(key)
        if value not in (None, "", (), []):
            found[key] = _write_side(side, value, threshold)
    settings = {"train.block_rates": ", ".join(text for texts in found.values() for text in texts)} if found else {}
    for key in WEIGHTS:
        name = f"network_args {key}"
        if key not in arguments:
            continue
        if key in found and not found[key]:
            job.fail(name, Message(_("numbers, or linear, reverse_linear, sine, cosine or zeros")))
        elif key in found or (key == "block_lr_zero_threshold" and found and threshold):
            job.map(name, settings)
        else:
            job.equal(name)


def _write_side(side: str, value: Any, threshold: float) -> list[str]:
    """A side's factors as `train.block_rates` has them; none where they cannot be read."""
    items = [*value] if isinstance(value, list | tuple) else str(value).replace(",", " ").split()
    numbers = [_as_float(item) for item in items]
    if len(items) == 1 and numbers[0] is None:
        return [f"{side}={items[0]}"]
    if any(number is None for number in numbers):
        return []
    factors = [as_number(number if number and number > threshold else 0.0) for number in numbers]
    if side == "MID" and len(factors) == 1:
        return [f"MID={factors[0]}"]
    return [f"{side}{number:02}={factor}" for number, factor in enumerate(factors)]


def _as_float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
