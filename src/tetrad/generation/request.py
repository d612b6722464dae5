"""Everything that decides a picture."""

from dataclasses import dataclass

from tetrad.errors import TetradError


@dataclass(frozen=True)
class Request:
    """A prompt without networks, and how it is drawn; width and height in pixels, 0 for the model's own."""

    prompt: str
    negative: str = ""
    seed: int = 0
    steps: int = 30
    cfg_scale: float = 7.0
    sampler: str = "DPM++ 2M"
    width: int = 0
    height: int = 0

    def __post_init__(self) -> None:
        for key, side in (("width", self.width), ("height", self.height)):
            if side % 8 or not 0 <= side <= 4096:
                raise TetradError(
                    "E3203", f"{key} must be a multiple of 8, at most 4096; it is {side}, {side // 8 * 8} would do"
                )
        if not 1 <= self.steps <= 1000:
            raise TetradError("E3203", f"steps must be from 1 to 1000, not {self.steps}; 20 to 30 is usual")
        if not 0 <= self.cfg_scale <= 100:
            raise TetradError("E3203", f"the CFG scale must be from 0 to 100, not {self.cfg_scale}; 7 is usual")
