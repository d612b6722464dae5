"""What is checked and read before a checkpoint's networks are built: metadata and channels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.locales import Message, _

if TYPE_CHECKING:
    from tetrad.models import infer_config


def read_architecture(metadata: Mapping[str, str], name: str) -> dict[str, Any]:
    """The settings that the shapes of the tensors cannot show.  E5009 where they are no JSON object."""
    try:
        return dict(parse_json(metadata.get("tetrad.architecture", "{}")))
    except (TypeError, ValueError) as error:
        raise TetradError(
            "E5009",
            _("the metadata entry {key} of {model} is not a JSON object ({error}); the file is damaged"),
            key="tetrad.architecture",
            model=name,
            error=error,
        ) from error


def read_resolution(metadata: Mapping[str, str]) -> int:
    """The side in pixels that the metadata gives, 0 where it gives none that is a number."""
    side = metadata.get("modelspec.resolution", "").partition("x")[0].strip()
    return int(side) if re.fullmatch(r"[1-9]\d{1,4}", side, re.ASCII) else 0


# By the number of input channels of a U-Net.
PURPOSES = {5: _("a depth-to-image model"), 7: _("an upscaler"), 8: _("an instruct-pix2pix model")}
PURPOSES |= {9: _("an inpainting model")}


def check_channels(unet: infer_config.Tensors, channels: int, name: str, family: str) -> None:
    """E5008 for a model of another purpose, E5009 for any other number of input or output channels."""
    first, last = unet.get("conv_in.weight"), unet.get("conv_out.weight")
    found = first.shape[1] if first is not None and first.ndim > 1 else channels
    found_outputs = last.shape[0] if last is not None and last.ndim > 1 else channels
    if found == found_outputs == channels:
        return
    if purpose := PURPOSES.get(found):
        raise TetradError(
            "E5008",
            _("{model} is {purpose}, which Tetrad cannot train or use; give a standard {family} checkpoint"),
            model=name,
            purpose=Message(purpose),
            family=family,
        )
    if found == channels:
        raise TetradError(
            "E5009",
            _("the U-Net of {model} has {found} output channels, not {channels}; it is damaged or of another kind"),
            model=name,
            found=found_outputs,
            channels=channels,
        )
    raise TetradError(
        "E5009",
        _("the U-Net of {model} has {found} input channels, not {channels}; it is damaged or of another family"),
        model=name,
        found=found,
        channels=channels,
    )
