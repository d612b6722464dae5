"""Everything that decides a picture."""

import random
from dataclasses import dataclass, fields
from numbers import Integral, Real

from torch import Tensor

from tetrad.errors import TetradError


@dataclass(frozen=True, eq=False)
class Start:
    """A picture to begin from, (3, H, W) in 0…1, of the request's size; where there is a mask, 1 is drawn anew.

    The mask (1, H, W) may be soft at its edge; what lies outside is the picture's own, pixel for pixel, in the end.
    """

    picture: Tensor
    mask: Tensor | None = None
    mask_blur: int = 0  # over how many pixels its edge was softened


@dataclass(frozen=True)
class Request:
    """A prompt as it is typed, and how it is drawn; width and height in pixels, 0 for the model's own.

    The networks that a prompt names are attached by whoever draws it (`tetrad.studio`); the words are read here.
    """

    prompt: str
    negative: str = ""
    seed: int = 0
    steps: int = 30
    cfg_scale: float = 7.0
    sampler: str = "DPM++ 2M"
    width: int = 0
    height: int = 0
    clip_skip: int = 0  # 1 the last layer, 2 the one before; 0: as the model is read
    cfg_rescale: float = 0.0  # how far the spread of a guided output is brought back, 0…1
    start: Start | None = None
    strength: float = 1.0  # how much of the start is drawn anew, 0…1

    def __post_init__(self) -> None:
        for each in fields(self):
            if (wanted := TYPES.get(each.type)) and not isinstance(value := getattr(self, each.name), wanted[0]):
                raise TetradError("E3203", f"{each.name} must be {wanted[1]}, not {value!r}")
        for key, text in (("prompt", self.prompt), ("negative", self.negative)):
            if not text.isascii() and text.encode(errors="ignore").decode() != text:
                raise TetradError("E3203", f"{key} has signs in it that are no text: {text[:40]!a}; type them as UTF-8")
        for key, side in (("width", self.width), ("height", self.height)):
            if side % 8 or not 0 <= side <= 4096:
                raise TetradError(
                    "E3203", f"{key} must be a multiple of 8, at most 4096; it is {side}, {near(side)} would do"
                )
        ranges = (
            ("steps", self.steps, 1, 1000, "20 to 30 is usual"),
            ("the CFG scale", self.cfg_scale, 0, 100, "7 is usual"),
            ("CFG rescale", self.cfg_rescale, 0, 1, "0.7 suits models that predict v"),
            ("the strength", self.strength, 0, 1, "0.5 keeps what the picture is and changes how it looks"),
            ("clip skip", self.clip_skip, 0, 24, "1 is the last layer, 2 the one before it"),
            ("the seed", self.seed, -(2**63), 2**64 - 1, "any whole number does"),
        )
        for name, value, low, high, usual in ranges:
            if not low <= value <= high:
                raise TetradError("E3203", f"{name} must be from {low} to {high}, not {value}; {usual}")


TYPES: dict[object, tuple[type, str]] = {
    str: (str, "a text"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
}


def any_seed(seed: int) -> int:
    """The seed; for -1, as web UIs have it, another one each time."""
    return random.randrange(2**32) if seed == -1 else seed


def near(side: int) -> int:
    return max(8, min(4096, side // 8 * 8))
