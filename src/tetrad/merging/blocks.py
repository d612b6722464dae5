"""Weights by block of the U-Net: BASE, IN00 …, M00, OUT00 …, as supermerger and Merge Block Weighted name them."""

import math
import re
from collections.abc import Callable, Iterable, Sequence

from tetrad.errors import TetradError
from tetrad.formats import ldm
from tetrad.locales import _, ngettext

BASE, _MIDDLE = "BASE", "M00"
_SIDES = {"input_blocks": "IN", "output_blocks": "OUT"}
_BLOCK = re.compile(rf"^{re.escape(ldm.UNET_PREFIX)}\.(input_blocks|output_blocks)\.(\d+)\.")
# From the position of a block, 0 for IN00 to 1 for the last OUT, to its weight; BASE is 0 in all of them.
PRESETS: dict[str, Callable[[float], float]] = {
    "GRAD_V": lambda t: abs(1 - 2 * t),
    "GRAD_A": lambda t: 1 - abs(1 - 2 * t),
    "FLAT_25": lambda t: 0.25,
    "FLAT_50": lambda t: 0.5,
    "FLAT_75": lambda t: 0.75,
    "SMOOTHSTEP": lambda t: t * t * (3 - 2 * t),
    "REVERSE_SMOOTHSTEP": lambda t: 1 - t * t * (3 - 2 * t),
    "COSINE": lambda t: (1 + math.cos(math.pi * t)) / 2,
    "REVERSE_COSINE": lambda t: (1 - math.cos(math.pi * t)) / 2,
}


def list_blocks(names: Iterable[str]) -> list[str]:
    """The blocks of a checkpoint with these tensor names: 26 of SD 1 and 2, 20 of XL."""
    counts = dict.fromkeys(_SIDES, 0)
    for name in names:
        if match := _BLOCK.match(name):
            counts[match[1]] = max(counts[match[1]], int(match[2]) + 1)
    inputs, outputs = ([f"{_SIDES[side]}{number:02}" for number in range(count)] for side, count in counts.items())
    return [BASE, *inputs, _MIDDLE, *outputs]


def block_of(name: str, blocks: Sequence[str]) -> str:
    """The block whose weight a tensor has.

    As in supermerger, the last layers (`out.`) belong to the last block, and the embeddings of time and size to BASE,
    as does everything outside the U-Net.
    """
    if match := _BLOCK.match(name):
        return f"{_SIDES[match[1]]}{int(match[2]):02}"
    if name.startswith(f"{ldm.UNET_PREFIX}.middle_block."):
        return _MIDDLE
    return blocks[-1] if name.startswith(f"{ldm.UNET_PREFIX}.out.") else BASE


def parse_block_weights(text: str, blocks: Sequence[str], weight: float) -> dict[str, float]:
    """The weight of each block: from a preset, a list of numbers, or names (`IN04=0.3,OUT=0.8`).

    `weight` is that of the blocks that are not named, and of BASE where a list leaves it out. `IN` and `OUT` stand for
    all blocks of a side. E3302 for an unknown name, a wrong number of weights, or one that is no number.
    """
    if preset := PRESETS.get(text.strip().upper()):
        last = len(blocks) - 2
        return {BASE: 0.0} | {block: preset(number / last) for number, block in enumerate(blocks[1:])}
    items = [item for item in re.split(r"[,\s]+", text) if item]
    if all("=" in item for item in items):
        named = dict.fromkeys(blocks, weight)
        names = [item.partition("=")[0].upper() for item in items]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise TetradError("E3302", _("--blocks has {name} twice; give each block one weight"), name=twice)
        for name, _equals, value in (item.partition("=") for item in items):
            named |= dict.fromkeys(_find_blocks(name.upper(), blocks), _parse_number(value, name))
        return named
    if len(items) == 1:
        raise _unknown_block_error(items[0], [*PRESETS, *blocks])
    numbers = [_parse_number(item, text) for item in items]
    if len(numbers) not in (len(blocks), len(blocks) - 1):
        raise TetradError(
            "E3302",
            ngettext(
                "--blocks has {count} number, but these models have {expected} blocks ({first} … {last}); give"
                " {expected} numbers, or {fewer} without {base}",
                "--blocks has {count} numbers, but these models have {expected} blocks ({first} … {last}); give"
                " {expected} numbers, or {fewer} without {base}",
                len(numbers),
            ),
            expected=len(blocks),
            first=blocks[0],
            last=blocks[-1],
            fewer=len(blocks) - 1,
            base=BASE,
        )
    return dict(zip(blocks, [weight, *numbers][-len(blocks) :], strict=True))


def _find_blocks(name: str, blocks: Sequence[str]) -> list[str]:
    """The blocks that a name stands for."""
    found = [block for block in blocks if name == block or (name in _SIDES.values() and block.startswith(name))]
    if not found:
        raise _unknown_block_error(name, blocks)
    return found


def _unknown_block_error(name: str, known: Iterable[str]) -> TetradError:
    template = _("--blocks has {name}, which these models do not have; they have {known}")
    return TetradError("E3302", template, name=name, known=", ".join(known))


def _parse_number(text: str, where: str) -> float:
    """A finite number.  E3302 for anything else."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        template = _("--blocks has {value} in {where}, which is no number; write for example IN04=0.3")
        raise TetradError("E3302", template, value=text, where=where)
    return number
