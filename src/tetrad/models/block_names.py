"""The blocks of the U-Net by the numbers that kohya's trainers and block merging give them: IN04, MID, OUT03."""

import re

from tetrad.models.base import Model, denoiser_of

BASE, IN, MID, OUT, LAST = "BASE", "IN", "MID", "OUT", "LAST"
_SIDES = {"down": IN, "up": OUT}
_BLOCK = re.compile(r"unet\.(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)")
_MIDDLE_BLOCK = re.compile(r"unet\.mid_block\.(resnets|attentions)\.(\d+)")


def name_blocks(path: str, model: Model) -> list[str]:
    """The blocks that contain a layer, the smallest first: IN04, down_1_0, down_1, down, IN, unet."""
    *own, whole = model.layers.blocks(path)
    if match := _BLOCK.match(path):
        side, level, kind, layer = match[1], int(match[2]), match[3], int(match[4])
        number = 3 * level + (2 if kind.endswith("samplers") else layer) + (side == "down")
        return [f"{_SIDES[side]}{number:02}", *own, _SIDES[side], whole]
    if match := _MIDDLE_BLOCK.match(path):
        number = 1 if match[1] == "attentions" else 2 * int(match[2])
        return [f"{MID}{number:02}", *own, MID, whole]
    edges = {"unet.conv_in": "IN00", "unet.conv_norm_out": LAST, "unet.conv_out": LAST}
    return [edges.get(path, BASE), *own, whole]


def list_blocks(model: Model) -> list[str]:
    """Every name of a block of a model, in the order of the U-Net."""
    paths = (f"{model.denoiser}.{name}" for name, _module in denoiser_of(model).named_modules() if name)
    return list(dict.fromkeys(name for path in paths for name in name_blocks(path, model)))
