"""sd-scripts' settings by block of the U-Net: learning rates as factors (also sdxl_train's block_lr), and ranks."""

from collections.abc import Mapping
from typing import Any

from tetrad.interchange.job import Job
from tetrad.locales import Message, _
from tetrad.methods.lora.settings import Lora
from tetrad.settings.field import as_number

WEIGHTS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold")
_SIDES = {"down_lr_weight": "IN", "mid_lr_weight": "MID", "up_lr_weight": "OUT"}
_DEFAULT_RATE = 2e-6
RANKS = ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")
# The blocks that a list has a number for: those of Stable Diffusion 1 and 2, and of XL with its first and last layers.
_BLOCKS = {
    25: [*(f"IN{number:02}" for number in range(12)), "MID", *(f"OUT{number:02}" for number in range(12))],
    23: [
        *("BASE", *(f"IN{number:02}" for number in range(9)), *(f"MID{number:02}" for number in range(3))),
        *(*(f"OUT{number:02}" for number in range(9)), "LAST"),
    ],
}


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


def map_ranks(job: Job, arguments: Mapping[str, Any]) -> None:
    """Ranks and alphas by block; without alphas of their own, blocks have those of the network."""
    found = {key: _read_list(job, key, arguments[key]) for key in RANKS if arguments.get(key) not in (None, "", ())}
    for key in RANKS:
        name = f"network_args {key}"
        if key in arguments and key not in found:
            job.equal(name)
        elif key in found and "block_dims" not in found and not any(arguments.get(each) for each in WEIGHTS):
            job.skip(name, Message(_("it only counts with {value}"), value="block_dims"))
        elif numbers := found.get(key):
            _map_list(job, key, numbers, found)
    if found.get("conv_block_dims") and "method.conv_rank" not in job.settings:
        job.settings["method.conv_alpha"] = _as_float(arguments.get("conv_alpha")) or 1.0


def _map_list(job: Job, key: str, numbers: list[float], found: Mapping[str, list[float]]) -> None:
    """A list as a table; an alpha of 0 is the block's rank."""
    setting = f"method.{key.replace('dims', 'ranks')}"
    usual = {"block_dims": "method.rank", "conv_block_dims": "method.conv_rank"}
    ranks = found.get(key.replace("alphas", "dims")) or [0.0] * len(numbers)
    if key not in usual and len(ranks) == len(numbers):
        numbers = [number or rank for number, rank in zip(numbers, ranks, strict=True)]
    default = job.settings.get(usual.get(key, ""), 0)
    blocks = dict(zip(_BLOCKS[len(numbers)], numbers, strict=True))
    table = {
        block: int(number) if key in usual else number
        for block, number in blocks.items()
        if block not in ("BASE", "LAST") and (number != default if key in usual else number)
    }
    job.map(f"network_args {key}", {setting: table})


def write_ranks(lora: Lora, family: str) -> dict[str, str]:
    """The network arguments of ranks and alphas by block of the U-Net; none where there are none."""
    written: dict[str, str] = {}
    blocks = _BLOCKS[23 if family == "sdxl" else 25]
    for key, (prefix, rank, alpha) in {
        "block": ("", lora.rank, lora.alpha),
        "conv_block": ("conv_", lora.conv_rank, lora.conv_alpha),
    }.items():
        ranks, alphas = getattr(lora, f"{prefix}block_ranks"), getattr(lora, f"{prefix}block_alphas")
        if not ranks and not alphas:
            continue
        sizes = [_look_up(block, ranks, rank) for block in blocks]
        scales = [_look_up(block, alphas, alpha) for block in blocks]
        written[f"{key}_dims"] = ",".join(map(str, sizes))
        written[f"{key}_alphas"] = ",".join(
            as_number(size if scale is None else scale) for size, scale in zip(sizes, scales, strict=True)
        )
    return written


def _look_up(block: str, values: Mapping[str, Any], default: Any) -> Any:
    """The value of the smallest block around a numbered one that has one."""
    side = block.rstrip("0123456789")
    names = [block, side]
    if side in ("IN", "OUT") and block != "IN00":
        level, layer = divmod(int(block[len(side) :]) - (side == "IN"), 3)
        ours = {"IN": "down", "OUT": "up"}[side]
        names = [block, f"{ours}_{level}_{layer}", f"{ours}_{level}", ours, side]
    elif side == "MID":
        names = [block, "mid", side]
    return next((values[name] for name in (*names, "unet") if name in values), default)


def _read_list(job: Job, key: str, value: Any) -> list[float]:
    items = [*value] if isinstance(value, list | tuple) else str(value).replace(",", " ").split()
    numbers = [number for item in items if (number := _as_float(item)) is not None and number >= 0]
    if len(numbers) != len(items) or len(numbers) not in _BLOCKS:
        expected = _("25 numbers (Stable Diffusion 1 and 2) or 23 (XL)")
        job.fail(f"network_args {key}", Message(expected))
        return []
    return numbers


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
