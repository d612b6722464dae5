"""Image quality against a reference: PSNR, SSIM and colour change of tensors (3, H, W) or (B, 3, H, W) in 0…1."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tetrad.locales import Message, _

_LUMA_WEIGHTS = torch.tensor([0.299, 0.587, 0.114])


def psnr(image: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio in dB; 100 for identical images."""
    error = float((image.float() - reference.float()).square().mean())
    return min(100.0, -10 * math.log10(error)) if error > 0 else 100.0


def ssim(image: Tensor, reference: Tensor) -> float:
    """Structural similarity of luma, 11-pixel Gaussian window; 1 for identical images.  [Wang et al. 2004]"""
    x, y = _to_luma(image)[None, None].double(), _to_luma(reference)[None, None].double()
    offsets = torch.arange(11, dtype=torch.float64) - 5
    gaussian = torch.exp(-offsets.square() / (2 * 1.5**2))
    window = torch.outer(gaussian, gaussian)[None, None] / gaussian.sum() ** 2

    def mean(pixels: Tensor) -> Tensor:
        return F.conv2d(pixels, window)

    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((numerator / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def _to_luma(image: Tensor) -> Tensor:
    return torch.einsum("chw,c->hw", image.float(), _LUMA_WEIGHTS)


@dataclass(frozen=True)
class ColourChange:
    """The overall colour difference between an image and its reference."""

    shift: tuple[float, float, float]  # added to red, green and blue, in levels of 255
    saturation: float  # 1.1: 10 % more
    contrast: float

    @property
    def shift_text(self) -> Message:
        red, green, blue = self.shift
        return Message(_("red {red:+.1f}, green {green:+.1f}, blue {blue:+.1f}"), red=red, green=green, blue=blue)

    @property
    def grading_text(self) -> Message:
        return Message(
            _("saturation {saturation:+.1f} %, contrast {contrast:+.1f} %"),
            saturation=100 * (self.saturation - 1),
            contrast=100 * (self.contrast - 1),
        )

    def __str__(self) -> str:
        return str(Message(_("{shift}; {grading}"), shift=self.shift_text, grading=self.grading_text))


def measure_colour_change(image: Tensor, reference: Tensor) -> ColourChange:
    """The colour change of `image` (3, H, W) relative to `reference`."""
    red, green, blue = (255 * (image - reference).float().mean((1, 2))).tolist()
    epsilon = 1 / 255

    def ratio(first: Tensor, second: Tensor) -> float:
        return float((first + epsilon) / (second + epsilon))

    saturation = [(pixels.amax(0) - pixels.amin(0)).float().mean() for pixels in (image, reference)]
    contrast = [_to_luma(pixels).std() for pixels in (image, reference)]
    return ColourChange((red, green, blue), ratio(*saturation), ratio(*contrast))
