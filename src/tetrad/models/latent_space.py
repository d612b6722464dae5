"""Detects the family of a VAE: Stable Diffusion 1 and 2, or XL, whose VAEs have the same names and shapes.

File layouts do not differ, so a small test image is encoded. Compared with a model's own VAE the answer is certain: two
VAEs of one family agree on its latents, and two of different families have nothing in common. Without one, the family
is judged by what is known of its latents: the colours they stand for and their standard deviation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tetrad.locales import Message, _

Encode = Callable[[Tensor], tuple[Tensor, Tensor]]  # images (B, 3, H, W) → mean, std (B, 4, h, w)

# Relative difference of latents above which two VAEs are of different families; a wrong scale alone makes 0.4.
MAX_SAME_FAMILY_DIFFERENCE = 0.35
_MIN_COLOUR_CORRELATION = 0.6  # a space is detected by its colours from this correlation on …
_MIN_CORRELATION_MARGIN = 0.2  # … if it is this far above the next best space
_MAX_MATCHING_LOG_SPREAD = 0.12  # |log(std · scaling factor)| up to which the standard deviation matches a space
_MIN_DIFFERENT_LOG_SPREAD = 0.2  # and above which it does not


@dataclass(frozen=True)
class LatentSpace:
    """What a family's latents look like.

    `latent_rgb_factors` are the best linear map from scaled latents (4) to RGB in -1…1 (3), as measured for previews
    without a VAE (InvokeAI's table).
    """

    title: str
    scaling_factor: float  # one over the standard deviation of unscaled latents
    architecture_prefix: str  # of `modelspec.architecture`
    latent_rgb_factors: tuple[tuple[float, float, float], ...]


LATENT_SPACES = (
    LatentSpace(
        "Stable Diffusion 1/2",
        0.18215,
        "stable-diffusion-v",
        ((0.3444, 0.1385, 0.0670), (0.1247, 0.4027, 0.1494), (-0.3192, 0.2513, 0.2103), (-0.1307, -0.1874, -0.7445)),
    ),
    LatentSpace(
        "Stable Diffusion XL",
        0.13025,
        "stable-diffusion-xl",
        ((0.3816, 0.4930, 0.5320), (-0.3753, 0.1631, 0.1739), (0.1770, 0.3588, -0.2048), (-0.4350, -0.2644, -0.4289)),
    ),
)
_SD_SPACE, XL_SPACE = LATENT_SPACES
# sha256 of well-known VAE files → their name and space.
KNOWN_VAE_HASHES = {
    "735e4c3a447a3255760d7f86845f09f937809baa529c17370d83e4c3758f3c75": ("vae-ft-mse-840000 (safetensors)", _SD_SPACE),
    "c6a580b13a5bc05a5e16e4dbb80608ff2ec251a162311590c1f34c013d7f3dab": ("vae-ft-mse-840000 (ckpt)", _SD_SPACE),
    "f921fb3f29891d2a77a6571e56b8b5052420d2884129517a333c60b1b4816cdf": ("NovelAI's animevae", _SD_SPACE),
    "df3c506e51b7ee1d7b5a6a2bb7142d47d488743c96aa778afb0f53a2cdc2d38d": ("Waifu Diffusion's kl-f8-anime2", _SD_SPACE),
    "63aeecb90ff7bc1c115395962d3e803571385b61938377bc7089b36e81e92e2e": ("sdxl_vae", XL_SPACE),
    "235745af8d86bf4a4c1b5b4f529868b37019a10f7c0b2e79ad0abca3a22bc6e1": ("sdxl-vae-fp16-fix", XL_SPACE),
}


def find_space_by_scaling_factor(scaling_factor: float) -> LatentSpace | None:
    """The space with this scaling factor, None if there is none."""
    return next(
        (
            space
            for space in LATENT_SPACES
            if abs(math.log(max(scaling_factor, 1e-9) / space.scaling_factor)) < _MAX_MATCHING_LOG_SPREAD
        ),
        None,
    )


def make_test_image(side: int = 128) -> Tensor:
    """The test image, (1, 3, side, side) in 0…1: muted colours that change slowly, and a few edges.

    It is so muted that its latents have the same standard deviation as those of the built-in VAE's own images.
    """
    y, x = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    waves = [torch.sin(2 * math.pi * (a * x + b * y) + c) for a, b, c in ((1, 0.3, 0), (-0.4, 1.2, 2), (0.9, -0.8, 4))]
    image = 0.5 + 0.18 * torch.stack(waves)
    patches = (x * 4).floor() + (y * 4).floor() * 4
    return torch.where(patches % 5 == 0, 1 - image, image)[None]


def compute_latent_difference(encode: Encode, other_encode: Encode) -> float:
    """|z' - z| / |z| for the test image's latents from two VAEs at one scale: 0 for equal, about 1.4 for unrelated."""
    latents, other_latents = encode(make_test_image())[0].cpu(), other_encode(make_test_image())[0].cpu()
    return float((other_latents - latents).norm() / latents.norm())


def detect_latent_space(encode_unscaled: Encode) -> tuple[LatentSpace | None, Message]:
    """The space of a VAE without one to compare it with (None if it cannot be detected), and the evidence.

    It is detected by colours, or by standard deviation if they are unclear. `encode_unscaled` gives unscaled latents.
    """
    z = encode_unscaled(make_test_image())[0].float().cpu()
    best, correlation, is_sure = _find_best_matching_space(z)
    spread = z.std().item()
    if is_sure:
        return best, Message(
            _("its latents match the colours of {space} (correlation {correlation:.2f})"),
            space=best.title,
            correlation=correlation,
        )
    log_errors = {space: abs(math.log(max(spread, 1e-9) * space.scaling_factor)) for space in LATENT_SPACES}
    nearest_space, other_space, *_rest = sorted(LATENT_SPACES, key=lambda space: log_errors[space])
    evidence = Message(
        _("its latents have a standard deviation of {spread:.2f} (usual: {usual})"),
        spread=spread,
        usual=", ".join(f"{space.title} {1 / space.scaling_factor:.2f}" for space in LATENT_SPACES),
    )
    is_match = (
        log_errors[nearest_space] < _MAX_MATCHING_LOG_SPREAD and log_errors[other_space] > _MIN_DIFFERENT_LOG_SPREAD
    )
    return nearest_space if is_match else None, evidence


def detect_space_by_colours(encode_unscaled: Encode) -> LatentSpace | None:
    """The space of a VAE by the colours of its latents alone, None if they are not clear."""
    best, _correlation, is_sure = _find_best_matching_space(encode_unscaled(make_test_image())[0].float().cpu())
    return best if is_sure else None


def _find_best_matching_space(z: Tensor) -> tuple[LatentSpace, float, bool]:
    """The space whose colours match the test image's unscaled latents (1, 4, h, w) best.

    Returned with the correlation, and whether it is high enough to be sure.
    """
    correlations = {space: _compute_colour_correlation(space.scaling_factor * z, space) for space in LATENT_SPACES}
    best, next_best, *_rest = sorted(LATENT_SPACES, key=lambda space: -correlations[space])
    return (
        best,
        correlations[best],
        correlations[best] > _MIN_COLOUR_CORRELATION
        and correlations[best] - correlations[next_best] > _MIN_CORRELATION_MARGIN,
    )


def _compute_colour_correlation(z: Tensor, space: LatentSpace) -> float:
    """Correlation of the test image's colours with those predicted from its scaled latents (1, 4, h, w)."""
    colours = F.adaptive_avg_pool2d(make_test_image(), (z.shape[2], z.shape[3]))[0]
    predicted_colours = torch.einsum("chw,cr->rhw", z[0], torch.tensor(space.latent_rgb_factors))
    both = torch.stack([colours.flatten(), predicted_colours.flatten()])
    return float(torch.corrcoef(both)[0, 1]) if predicted_colours.isfinite().all() else 0.0
