"""How far a picture is from what it should be: (3, H, W) or (B, 3, H, W) in 0…1, one number for all of it."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = torch.tensor([0.299, 0.587, 0.114])


def psnr(found: Tensor, wanted: Tensor) -> float:
    """Peak signal to noise in dB; the same pictures have 100."""
    error = float((found.float() - wanted.float()).square().mean())
    return min(100.0, -10 * math.log10(error)) if error > 0 else 100.0


def ssim(found: Tensor, wanted: Tensor) -> float:
    """Structural similarity of the luma, by Gaussian windows of 11 pixels, at most 1.  [Wang et al. 2004]"""
    x, y = luma(found)[None, None].double(), luma(wanted)[None, None].double()
    place = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-place.square() / (2 * 1.5**2))
    window = torch.outer(line, line)[None, None] / line.sum() ** 2

    def mean(picture: Tensor) -> Tensor:
        return F.conv2d(picture, window)

    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    together = mean(x * y) - mean_x * mean_y
    first, second = 0.01**2, 0.03**2
    likeness = (2 * mean_x * mean_y + first) * (2 * together + second)
    return float((likeness / ((mean_x**2 + mean_y**2 + first) * (var_x + var_y + second))).mean())


def luma(picture: Tensor) -> Tensor:
    return torch.einsum("chw,c->hw", picture.float(), LUMA)


@dataclass(frozen=True)
class Grade:
    """What was done to a picture's colours as a whole, as a colourist would say it."""

    shift: tuple[float, float, float]  # added to red, green and blue, in levels of 255
    saturation: float  # 1.1: a tenth more
    contrast: float

    def __str__(self) -> str:
        red, green, blue = self.shift
        return (
            f"red {red:+.1f}, green {green:+.1f}, blue {blue:+.1f}; saturation {100 * (self.saturation - 1):+.1f} %, "
            f"contrast {100 * (self.contrast - 1):+.1f} %"
        )


def grade(found: Tensor, wanted: Tensor) -> Grade:
    """How `found` (3, H, W) is graded beside `wanted`."""
    red, green, blue = (255 * (found - wanted).float().mean((1, 2))).tolist()
    least = 1 / 255

    def ratio(first: Tensor, second: Tensor) -> float:
        return float((first + least) / (second + least))

    saturation = [(picture.amax(0) - picture.amin(0)).float().mean() for picture in (found, wanted)]
    contrast = [luma(picture).std() for picture in (found, wanted)]
    return Grade((red, green, blue), ratio(*saturation), ratio(*contrast))
