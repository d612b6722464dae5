"""Detecting the family of a VAE by its latents."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tetrad.models import latent_space
from tetrad.models.latent_space import LATENT_SPACES, LatentSpace


def make_latents(space: LatentSpace) -> Tensor:
    """Latents of the test image with the colours of this space, and noise."""
    colours = F.avg_pool2d(2 * latent_space.make_test_image() - 1, 8)[0]
    inverse = torch.linalg.pinv(torch.tensor(space.latent_rgb_factors))
    z = torch.einsum("rhw,rc->chw", colours, inverse)[None]
    return (z + 0.2 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0))) / space.scaling_factor


@pytest.mark.parametrize("space", LATENT_SPACES, ids=lambda space: space.title)
def test_a_space_is_detected_by_the_colours_of_its_latents(space: LatentSpace) -> None:
    detected, evidence = latent_space.detect_latent_space(lambda _: (make_latents(space), torch.zeros(1)))
    assert detected is space and evidence.values["space"] == space.title


@pytest.mark.parametrize("space", LATENT_SPACES, ids=lambda space: space.title)
def test_a_space_is_detected_by_standard_deviation_if_colours_are_unclear(space: LatentSpace) -> None:
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    assert latent_space.detect_latent_space(lambda _: (noise / noise.std() / space.scaling_factor, noise))[0] is space


def test_latents_of_an_unusual_standard_deviation_match_no_space() -> None:
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    assert latent_space.detect_latent_space(lambda _: (noise * 6.5, noise))[0] is None
    assert latent_space.detect_latent_space(lambda _: (noise * 0, noise))[0] is None


def test_latents_of_different_families_are_unrelated() -> None:
    first, second = (make_latents(space) for space in LATENT_SPACES)
    assert latent_space.compute_latent_difference(lambda _: (first, first), lambda _: (first, first)) == 0
    assert (
        latent_space.compute_latent_difference(lambda _: (first, first), lambda _: (second, second))
        > 2 * latent_space.MAX_SAME_FAMILY_DIFFERENCE
    )


def test_a_scaling_factor_identifies_its_space() -> None:
    assert [latent_space.find_space_by_scaling_factor(space.scaling_factor) for space in LATENT_SPACES] == list(
        LATENT_SPACES
    )
