"""Whose latents a VAE makes: those of Stable Diffusion 1 and 2, or XL's, which have the same names and shapes.

Nothing in a file's layout tells them apart, so a small picture is put through. Beside a model's own VAE the answer is
sure: two VAEs of one family agree on its latents, two of different families have nothing in common. Without one, what
is left is how the family's latents are known to lie: which colours they stand for, and how large they are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Encode = Callable[[Tensor], tuple[Tensor, Tensor]]  # pictures (B, 3, H, W) → mean, std (B, 4, h, w)

FAR = 0.35  # relative difference of latents above which two VAEs are of different families; a wrong scale alone is 0.4
SURE, APART = 0.6, 0.2  # least likeness of colours that tells a space, and least distance to the next likest
NEAR_ONE, NOT_ONE = 0.12, 0.2  # |log| of the spread that fits a space, and that does not


@dataclass(frozen=True)
class Space:
    """What a family's latents are like.

    `colours` are the best linear map from scaled latents (4) to RGB in -1…1 (3), as measured by the people who draw
    previews without a VAE (InvokeAI's table).
    """

    title: str
    scale: float  # one over the standard deviation of unscaled latents
    architecture: str  # how modelspec begins
    colours: tuple[tuple[float, float, float], ...]


SPACES = (
    Space(
        "Stable Diffusion 1 or 2",
        0.18215,
        "stable-diffusion-v",
        ((0.3444, 0.1385, 0.0670), (0.1247, 0.4027, 0.1494), (-0.3192, 0.2513, 0.2103), (-0.1307, -0.1874, -0.7445)),
    ),
    Space(
        "Stable Diffusion XL",
        0.13025,
        "stable-diffusion-xl",
        ((0.3816, 0.4930, 0.5320), (-0.3753, 0.1631, 0.1739), (0.1770, 0.3588, -0.2048), (-0.4350, -0.2644, -0.4289)),
    ),
)
SD, XL = SPACES
# sha256 of files that everybody has, by what they are.
KNOWN = {
    "735e4c3a447a3255760d7f86845f09f937809baa529c17370d83e4c3758f3c75": ("vae-ft-mse-840000 (safetensors)", SD),
    "c6a580b13a5bc05a5e16e4dbb80608ff2ec251a162311590c1f34c013d7f3dab": ("vae-ft-mse-840000 (ckpt)", SD),
    "f921fb3f29891d2a77a6571e56b8b5052420d2884129517a333c60b1b4816cdf": ("NovelAI's animevae", SD),
    "df3c506e51b7ee1d7b5a6a2bb7142d47d488743c96aa778afb0f53a2cdc2d38d": ("Waifu Diffusion's kl-f8-anime2", SD),
    "63aeecb90ff7bc1c115395962d3e803571385b61938377bc7089b36e81e92e2e": ("sdxl_vae", XL),
    "235745af8d86bf4a4c1b5b4f529868b37019a10f7c0b2e79ad0abca3a22bc6e1": ("sdxl_vae mended for half precision", XL),
}


def of_scale(scale: float) -> Space:
    """The space of the model or VAE with this scale."""
    return min(SPACES, key=lambda space: abs(space.scale - scale))


def chart(side: int = 128) -> Tensor:
    """The built-in picture, (1, 3, side, side) in 0…1: muted colours, slowly changing, and a few edges.

    So muted that the built-in VAE's latents of it spread as they do over its own pictures.
    """
    y, x = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    waves = [torch.sin(2 * math.pi * (a * x + b * y) + c) for a, b, c in ((1, 0.3, 0), (-0.4, 1.2, 2), (0.9, -0.8, 4))]
    picture = 0.5 + 0.18 * torch.stack(waves)
    patches = (x * 4).floor() + (y * 4).floor() * 4
    return torch.where(patches % 5 == 0, 1 - picture, picture)[None]


def difference(own: Encode, other: Encode) -> float:
    """|z' - z| / |z| of a picture's latents by two VAEs at one scale: 0 the same, about 1.4 nothing in common."""
    wanted, found = own(chart())[0].cpu(), other(chart())[0].cpu()
    return float((found - wanted).norm() / wanted.norm())


def told(unscaled: Encode) -> tuple[Space | None, str]:
    """The space of a VAE that stands alone, None where that cannot be told, and what was seen.

    `unscaled` gives latents as the network does.  First by colours; where they say nothing, by size.
    """
    z = unscaled(chart())[0].float().cpu()
    best, likeness, is_sure = likest(z)
    spread = z.std().item()
    seen = f"its latents lie like {best.title}'s to {likeness:.2f} of 1, and spread {spread:.2f}"
    if is_sure:
        return best, seen
    off = {space: abs(math.log(max(spread, 1e-9) * space.scale)) for space in SPACES}
    near, far = sorted(SPACES, key=lambda space: off[space])
    wanted = ", ".join(f"{1 / space.scale:.2f} in {space.title}" for space in SPACES)
    return (near if off[near] < NEAR_ONE and off[far] > NOT_ONE else None), f"{seen} ({wanted})"


def by_colours(unscaled: Encode) -> Space | None:
    """The space of a VAE by the colours its latents stand for alone, None where these do not tell."""
    best, _, is_sure = likest(unscaled(chart())[0].float().cpu())
    return best if is_sure else None


def likest(z: Tensor) -> tuple[Space, float, bool]:
    """The space in which unscaled latents (1, 4, h, w) of the chart fit its colours best, how well, whether surely."""
    likeness = {space: colour_likeness(space.scale * z, space) for space in SPACES}
    best, next_best = sorted(SPACES, key=lambda space: -likeness[space])
    return best, likeness[best], likeness[best] > SURE and likeness[best] - likeness[next_best] > APART


def colour_likeness(z: Tensor, space: Space) -> float:
    """How well scaled latents (1, 4, h, w) of the chart stand for its colours in this space: a correlation."""
    colours = F.adaptive_avg_pool2d(chart(), (z.shape[2], z.shape[3]))[0]
    guess = torch.einsum("chw,cr->rhw", z[0], torch.tensor(space.colours))
    both = torch.stack([colours.flatten(), guess.flatten()])
    return float(torch.corrcoef(both)[0, 1]) if guess.isfinite().all() else 0.0
