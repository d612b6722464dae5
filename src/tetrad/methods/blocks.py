"""What the blocks of a model are called where a setting speaks of them: "down_1_0", "mid", "text_encoder"."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from tetrad.errors import TetradError

Value = TypeVar("Value")

NAME = re.compile(r"unet|(down|up)(_\d+){0,2}|mid|text_encoder(_2)?")
LEVEL = re.compile(r"unet\.(down|up)_blocks\.(\d+)\.(?:(?:resnets|attentions)\.(\d+)\.)?")
WHAT_IS_A_BLOCK = "unet, down, mid, up, a level of them like down_1, a layer of that like down_1_0, or text_encoder"


def names(path: str) -> list[str]:
    """What the blocks around a layer are called, the smallest first.

    `unet.down_blocks.1.attentions.0.proj_in` → down_1_0, down_1, down, unet.  kohya counts the same blocks in one row:
    down_1_0 of Stable Diffusion 1 is its number 4, one after the first convolution and the three of down_0.
    """
    if found := LEVEL.match(path):
        side, level, layer = found.groups()
        layers = [] if layer is None else [f"{side}_{level}_{layer}"]
        return [*layers, f"{side}_{level}", side, "unet"]
    return ["mid", "unet"] if path.startswith("unet.mid_block.") else [path.partition(".")[0]]


def valued(path: str, values: Mapping[str, Value], otherwise: Value) -> Value:
    """What the smallest block around a layer that `values` names is given."""
    return next((values[name] for name in names(path) if name in values), otherwise)


def check_spelled(setting: str, values: Iterable[str]) -> None:
    """Raises E3121 where a name is none of a block."""
    for name in values:
        if not NAME.fullmatch(name):
            raise TetradError("E3121", f"method.{setting} speaks of {name!r}; a block is {WHAT_IS_A_BLOCK}")


def check_there(setting: str, values: Iterable[str], paths: Collection[str], model: str) -> None:
    """Raises E3121 where the model has no such block among the layers at `paths`."""
    there = {name for path in paths for name in names(path)}
    for name in values:
        if name not in there:
            raise TetradError(
                "E3121", f"method.{setting} speaks of {name}, but of {model} these learn: {', '.join(sorted(there))}"
            )
