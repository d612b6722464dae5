"""The settings of one image: prompt, seed, steps, sampler, size and the rest."""

import random
from dataclasses import dataclass, fields
from numbers import Integral, Real

from torch import Tensor

from tetrad.errors import TetradError
from tetrad.locales import _

_MAX_SIDE = 4096  # pixels


@dataclass(frozen=True, eq=False)
class InitImage:
    """The image that img2img starts from, (3, H, W) in [0, 1], at the size of the request.

    The mask, (1, H, W) in [0, 1], is 1 where a new image is generated (inpainting) and may be soft at its edge. Pixels
    where it is 0 are copied from the init image unchanged.
    """

    image: Tensor
    mask: Tensor | None = None
    mask_blur: int = 0  # radius in pixels by which the mask's edge was softened


@dataclass(frozen=True)
class Request:
    """A prompt as it was typed, and the settings of its image.

    Network tags stay in the prompt; the pipeline finds and attaches the files. E3203 for a value out of range.
    """

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    steps: int = 30
    cfg_scale: float = 7.0
    sampler: str = "DPM++ 2M"
    width: int = 0  # pixels; 0: the model's own resolution
    height: int = 0
    clip_skip: int = 0  # 1: the text encoder's last layer, 2: the one before; 0: the model's default
    cfg_rescale: float = 0.0  # 0 … 1: how far the standard deviation of the guided output is reduced again
    init_image: InitImage | None = None
    denoising_strength: float = 1.0  # 0 … 1: how much of the init image is replaced
    a1111_steps: bool = False  # count the steps of prompt edits and img2img as A1111 does; for images that it made

    def __post_init__(self) -> None:
        self.check_types()
        for name, text in (("prompt", self.prompt), ("negative_prompt", self.negative_prompt)):
            if not text.isascii() and text.encode(errors="ignore").decode() != text:
                raise TetradError(
                    "E3203",
                    _("{name} contains characters that are not valid Unicode: {text}; type it in UTF-8"),
                    name=name,
                    text=ascii(text[:40]),
                )
        for name, side in (("width", self.width), ("height", self.height)):
            if side % 8 or not 0 <= side <= _MAX_SIDE:
                raise TetradError(
                    "E3203",
                    _("{name} must be a multiple of 8 from 8 to {limit} pixels, not {value}; try {nearest}"),
                    name=name,
                    limit=_MAX_SIDE,
                    value=side,
                    nearest=_round_side(side),
                )
        for name, (low, high, template) in _RANGES.items():
            if not low <= (value := getattr(self, name)) <= high:
                raise TetradError("E3203", template, low=low, high=high, value=value)

    def check_types(self) -> None:
        for each in fields(self):
            if each.type in _FIELD_TYPES:
                expected_type, template = _FIELD_TYPES[each.type]
                if not isinstance(value := getattr(self, each.name), expected_type):
                    raise TetradError("E3203", template, name=each.name, value=repr(value))


_FIELD_TYPES: dict[object, tuple[type, str]] = {
    str: (str, _("{name} must be text, not {value}")),
    int: (Integral, _("{name} must be a whole number, not {value}")),
    float: (Real, _("{name} must be a number, not {value}")),
}
_RANGES: dict[str, tuple[int, int, str]] = {
    "steps": (1, 1000, _("steps must be from {low} to {high}, not {value}; 20 to 30 is typical")),
    "cfg_scale": (0, 100, _("the CFG scale must be from {low} to {high}, not {value}; 7 is typical")),
    "cfg_rescale": (
        0,
        1,
        _("CFG rescale must be from {low} to {high}, not {value}; 0.7 is typical for v-prediction models"),
    ),
    "denoising_strength": (
        0,
        1,
        _("the denoising strength must be from {low} to {high}, not {value}; 0.6 is typical"),
    ),
    "clip_skip": (
        0,
        24,
        _("clip skip must be from {low} to {high}, not {value}; 1 is the last layer, 2 is the one before it"),
    ),
    "seed": (-(2**63), 2**64 - 1, _("the seed must be from {low} to {high}, not {value}")),
}


def resolve_seed(seed: int) -> int:
    """The seed itself; for -1, a random one, as in web UIs."""
    return random.randrange(2**32) if seed == -1 else seed


def _round_side(side: int) -> int:
    return max(8, min(_MAX_SIDE, side // 8 * 8))
