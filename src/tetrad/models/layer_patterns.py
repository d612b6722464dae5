"""Which layers of a family's networks methods train."""

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class LayerPatterns:
    """The layers of a family's networks that methods train, by canonical path, and the blocks they belong to.

    Layers are matched by path and not by class name: libraries rename classes, and a LoRA would silently lose layers.
    """

    attention: re.Pattern[str]  # linear layers and 1×1 convolutions of the denoiser's transformer blocks
    convolutions: re.Pattern[str]  # of the denoiser
    text: re.Pattern[str]  # linear layers of the text encoders
    keys_and_values: re.Pattern[str]  # the denoiser's to_k and to_v layers; the first group is "k" or "v"
    text_keys: re.Pattern[str]  # the to_k layers of cross-attention
    blocks: Callable[[str], list[str]]  # a layer's blocks, the smallest first: down_1_0, down_1, down, unet
