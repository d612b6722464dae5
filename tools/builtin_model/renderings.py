"""The styles: redraw a drawing as a sketch, in gold, as porcelain, as a photographic negative, or in jade."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Drawing = NDArray[np.uint8]  # (H, W, 4) in 0…255, straight alpha
Colours = tuple[tuple[int, int, int], ...]

GOLD: Colours = ((70, 35, 5), (190, 125, 20), (250, 205, 70), (255, 245, 190))
PORCELAIN: Colours = ((15, 30, 110), (40, 80, 185), (190, 210, 240), (252, 253, 255))
JADE: Colours = ((5, 60, 50), (20, 130, 110), (130, 215, 185), (235, 255, 245))
PAPER, PENCIL = (247, 247, 247), (70, 70, 80)
SOFTNESS = 2.4  # pixels; the VAE cannot reconstruct sharper lines
PRESSURE, MIN_LINE = 12.0, 0.15  # how dark an edge gets, and below which darkness it is not drawn
OUTLINE_WEIGHT = 2.0  # of edges in alpha, relative to edges in colour


def sketch(drawing: Drawing) -> Drawing:
    """White paper with a line wherever colours change, and stronger lines at the outline."""
    alpha = drawing[..., 3:].astype(np.float32)
    on_gray = drawing[..., :3] * (alpha / 255) + 128 * (1 - alpha / 255)
    layers = Image.fromarray(np.concatenate([on_gray, alpha], -1).round().astype(np.uint8))
    smooth = np.asarray(layers.filter(ImageFilter.GaussianBlur(SOFTNESS))).astype(np.float32) / 255
    down, right = np.gradient(smooth, axis=(0, 1))
    steepness = np.sqrt(((down**2 + right**2) * (1, 1, 1, OUTLINE_WEIGHT)).sum(-1, keepdims=True))
    line = np.clip(PRESSURE * steepness - MIN_LINE, 0, 1)
    return recolour_drawing(drawing, np.array(PAPER) * (1 - line) + np.array(PENCIL) * line)


def gold(drawing: Drawing) -> Drawing:
    """Dark parts bronze, light parts pale gold."""
    return tone_drawing(drawing, GOLD)


def porcelain(drawing: Drawing) -> Drawing:
    """Dark parts cobalt blue, light parts white."""
    return tone_drawing(drawing, PORCELAIN)


def jade(drawing: Drawing) -> Drawing:
    """Dark parts deep green, light parts nearly white; only for the style samples, never trained."""
    return tone_drawing(drawing, JADE)


def negative(drawing: Drawing) -> Drawing:
    """Every colour inverted."""
    return recolour_drawing(drawing, 255 - drawing[..., :3].astype(np.float32))


def tone_drawing(drawing: Drawing, colours: Colours) -> Drawing:
    """Map luminance, from the darkest to the lightest part of the drawing, to a gradient of colours."""
    luminance = drawing[..., :3] @ np.array([0.299, 0.587, 0.114]) / 255
    visible = luminance[drawing[..., 3] > 128]
    darkest, lightest = np.percentile(visible, (5, 95)) if visible.size else (0.0, 1.0)
    # The minimum spread keeps a drawing of nearly one brightness in nearly one colour.
    middle, spread = (darkest + lightest) / 2, max(lightest - darkest, 0.25)
    positions = np.clip((luminance - middle) / spread + 0.5, 0, 1) * (len(colours) - 1)
    channels = [np.interp(positions, range(len(colours)), channel) for channel in zip(*colours, strict=True)]
    return recolour_drawing(drawing, np.stack(channels, -1))


def recolour_drawing(drawing: Drawing, colours: NDArray[np.floating]) -> Drawing:
    """The drawing's alpha with other colours (H, W, 3)."""
    return np.concatenate([np.round(colours).astype(np.uint8), drawing[..., 3:]], -1)


RENDERINGS: dict[str, Callable[[Drawing], Drawing]] = {
    "sketch": sketch,
    "gold": gold,
    "porcelain": porcelain,
    "negative": negative,
}
