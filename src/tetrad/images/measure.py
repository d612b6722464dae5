"""Measure what makes an image bad for training: how dark or bright it is, how little it shows, how blurred it is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageStat

MEASURED_SIDE = 512  # an image is measured at about this length of its shorter side, near the size it is trained at
_BLUR_PIXELS = 9  # of the filter that an image is compared with
_LEAST_DETAIL = 1.0  # mean difference between neighbours, times _BLUR_PIXELS


@dataclass(frozen=True, slots=True)
class Measures:
    """What the pixels of an image say about its use, all from 0 to 1."""

    brightness: float  # mean lightness
    contrast: float  # standard deviation of the channel that varies most
    blur: float  # near 0: sharp; near 1: blurred


def measure_image(image: Image.Image) -> Measures:
    """The measures of an RGB image; a shorter side of more than MEASURED_SIDE pixels is reduced to that first."""
    if min(image.size) > MEASURED_SIDE:
        scale = MEASURED_SIDE / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    grey = image.convert("L")
    contrast = max(ImageStat.Stat(image).stddev) / 255
    values = ImageStat.Stat(grey).mean[0] / 255, contrast, measure_blur(np.asarray(grey, dtype=np.int16))
    return Measures(*(round(value, 4) for value in values))


def measure_blur(levels: NDArray[np.int16]) -> float:
    """How much of the detail between neighbouring pixels a blur filter leaves, of the more blurred direction.

    `levels` are those of a grey image, (H, W). A sharp image loses most detail, a blurred one keeps it. An image
    without detail counts as sharp. [Crete et al. 2007, "The blur effect: perception and estimation with a new
    no-reference perceptual blur metric"]
    """
    return max(_measure_blur_along(levels), _measure_blur_along(np.ascontiguousarray(levels.T)))


def _measure_blur_along(levels: NDArray[np.int16]) -> float:
    """The same along the rows; 0 for rows that are shorter than the filter.

    The filter is the mean of `_BLUR_PIXELS` neighbours, so two neighbours of the blurred image differ by the pixel that
    comes in and the one that goes out; both sides are multiplied by the number of pixels.
    """
    if levels.shape[1] <= _BLUR_PIXELS:
        return 0.0
    margin = _BLUR_PIXELS // 2
    detail = np.abs(np.diff(levels[:, margin:-margin], axis=1))
    detail *= _BLUR_PIXELS
    total = float(detail.sum(dtype=np.int64))
    detail -= np.abs(levels[:, _BLUR_PIXELS:] - levels[:, :-_BLUR_PIXELS])
    lost = float(detail.clip(min=0, out=detail).sum(dtype=np.int64))
    return 1 - lost / total if total > _LEAST_DETAIL * detail.size else 0.0
