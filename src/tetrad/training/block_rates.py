"""Learning rates by block of the U-Net, as factors: blocks by kohya's names and numbers, or by those of the model."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods.base import ParamGroup
from tetrad.models.base import Model
from tetrad.models.block_names import BASE, IN, LAST, MID, OUT, list_blocks, name_blocks

_PRESET = re.compile(r"(\w+?)(?:\+(\S+))?")
_MAX_FACTOR = 100.0
# sd-scripts' curves over the blocks of a side, from the position of a block, 0 to 1, to its factor.
_PRESETS: Mapping[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "reverse_linear": lambda x: 1 - x,
    "sine": lambda x: math.sin(math.pi / 2 * x),
    "cosine": lambda x: math.cos(math.pi / 2 * x),
    "zeros": lambda x: 0.0,
}


def split_by_block(groups: Sequence[ParamGroup], model: Model, text: str) -> list[ParamGroup]:
    """The groups with a group of its own for each factor; those of text encoders, and all without `text`, stay.

    E3121 where the text names a block that the model does not have, or has another number of factors.
    """
    if not text:
        return list(groups)
    factors = parse_block_rates(text, list_blocks(model), model.name)
    made: list[ParamGroup] = []
    for group in groups:
        by_factor: dict[float, list[int]] = {}
        for number, path in enumerate(group.paths if group.part == model.denoiser else ()):
            factor = next((factors[name] for name in name_blocks(path, model) if name in factors), 1.0)
            by_factor.setdefault(factor, []).append(number)
        made += [_take(group, numbers, factor) for factor, numbers in by_factor.items()] or [group]
    return made


def _take(group: ParamGroup, numbers: Sequence[int], factor: float) -> ParamGroup:
    """Some parameters of a group, at a factor of its rate."""
    return replace(
        group,
        parameters=[group.parameters[number] for number in numbers],
        paths=tuple(group.paths[number] for number in numbers),
        lr_scale=group.lr_scale * factor,
    )


def parse_block_rates(text: str, blocks: Sequence[str], model: str) -> dict[str, float]:
    """The factor of each block that is named: from `IN04=0.5, OUT=cosine+0.2`, or from a list of numbers.

    A list has a number for each block from IN00 to the last OUT, with one for the middle or one for each of its three
    layers, and may have two more, for BASE and LAST.
    """
    items = [item for item in re.split(r"[,\s]+", text) if item]
    if len(items) == 1 and items[0].partition("+")[0].lower() in _PRESETS:
        items = [f"{side}={items[0]}" for side in (IN, OUT)]
    if all("=" in item for item in items):
        factors: dict[str, float] = {}
        for name, _equals, value in (item.partition("=") for item in items):
            factors |= _read_block(name, value, blocks, model)
        return factors
    numbers = [_read_number(item, text) for item in items]
    numbered = _list_numbered(blocks)
    for names in numbered:
        if len(names) == len(numbers):
            return dict(zip(names, numbers, strict=True))
    raise TetradError(
        "E3121",
        _(
            "train.block_rates has {count} numbers, but {model} has {expected} blocks ({first} … {last}); give"
            " {expected} numbers, or names like IN04=0.5"
        ),
        count=len(numbers),
        model=model,
        expected=len(numbered[0]),
        first=numbered[0][0],
        last=numbered[0][-1],
    )


def _read_block(name: str, value: str, blocks: Sequence[str], model: str) -> dict[str, float]:
    """The factors of the blocks that a name stands for."""
    found = next((block for block in blocks if block.lower() == name.lower()), None)
    if found is None:
        template = _("train.block_rates contains {name}, but the blocks of {model} are {blocks}")
        raise TetradError("E3121", template, name=name, model=model, blocks=", ".join(blocks))
    match = _PRESET.fullmatch(value.lower())
    if match is None or match[1] not in _PRESETS:
        return {found: _read_number(value, name)}
    members = [block for block in blocks if re.fullmatch(rf"{found}\d\d", block)] or [found]
    offset = _read_number(match[2], name) if match[2] else 0.0
    last = max(1, len(members) - 1)
    return {block: offset + _PRESETS[match[1]](number / last) for number, block in enumerate(members)}


def _list_numbered(blocks: Iterable[str]) -> list[list[str]]:
    """The lists of blocks that a list of numbers may stand for."""
    names = sorted({block for block in blocks if re.fullmatch(r"(IN|OUT|MID)\d\d", block)})
    ins, middle, outs = ([name for name in names if name.startswith(side)] for side in (IN, MID, OUT))
    plain, detailed = [*ins, MID, *outs], [*ins, *middle, *outs]
    return [plain, detailed, [BASE, *plain, LAST], [BASE, *detailed, LAST]]


def _read_number(text: str, where: str) -> float:
    """A factor.  E3121 for anything else."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= _MAX_FACTOR:
        template = _("train.block_rates has {value} in {where}; a factor is a number from 0 to {highest}")
        raise TetradError("E3121", template, value=text, where=where, highest=f"{_MAX_FACTOR:g}")
    return number
