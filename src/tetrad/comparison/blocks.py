"""The blocks that people know a model by: IN00 … OUT11 of the U-Net, the text encoders, the VAE."""

import re
from collections.abc import Callable, Collection

from tetrad.formats import ldm
from tetrad.locales import Message, _

_UNET_BLOCK = re.compile(r"(?:model\.diffusion_model\.)?(input|middle|output)_blocks?\.(\d+)\.")
_SHORT_NAMES = {"input": "IN", "output": "OUT"}
_PARTS = {
    "text_encoder": _("text encoder"),
    "text_encoder_2": _("second text encoder"),
    "unet": _("U-Net, the rest"),
}
_OTHERS = Message(_("other tensors"))


def make_block_finder(names: Collection[str]) -> Callable[[str], str | Message]:
    """A function from a canonical name to its block, for a model with these tensors or layers.

    The U-Net's blocks have the names that merges by block use; they are counted in LDM's order.
    """
    ldm_paths = ldm.map_unet_paths(names)

    def find_block(name: str) -> str | Message:
        if match := _UNET_BLOCK.match(ldm_paths.get(name, "")):
            side = match[1]
            return "M00" if side == "middle" else f"{_SHORT_NAMES[side]}{int(match[2]):02}"
        part, _dot, path = name.partition(".")
        if part == "vae":
            return (
                Message(_("VAE encoder")) if path.startswith(("encoder", "quant_conv")) else Message(_("VAE decoder"))
            )
        return Message(_PARTS[part]) if part in _PARTS else _OTHERS

    return find_block


def block_order(block: str | Message) -> tuple[float, str]:
    """Sorts blocks as a model computes them: text encoders, U-Net, VAE."""
    if isinstance(block, Message):
        order = (*_PARTS.values(), _("VAE encoder"), _("VAE decoder"), _OTHERS.template)
        position = order.index(block.template)
        return (position if position < 2 else 3 + position, "")
    return (2 + ("IN", "M", "OUT").index(re.sub(r"\d", "", block)) / 10, block)
