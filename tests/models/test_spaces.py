"""Whose latents these are, where nothing but the latents can say so."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tetrad.models import spaces
from tetrad.models.spaces import SPACES, Space


def latents_of(space: Space) -> Tensor:
    """Latents of the chart such as a VAE of this family makes, as far as their colours go, with noise in them."""
    colours = F.avg_pool2d(2 * spaces.chart() - 1, 8)[0]
    inverse = torch.linalg.pinv(torch.tensor(space.colours))
    z = torch.einsum("rhw,rc->chw", colours, inverse)[None]
    return (z + 0.2 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0))) / space.scale


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.title)
def test_a_vae_is_told_by_the_colours_its_latents_stand_for(space: Space) -> None:
    found, seen = spaces.told(lambda _: (latents_of(space), torch.zeros(1)))
    assert found is space and space.title in seen


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.title)
def test_where_colours_say_nothing_the_spread_does(space: Space) -> None:
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    assert spaces.told(lambda _: (noise / noise.std() / space.scale, noise))[0] is space


def test_where_nothing_tells_nothing_is_told() -> None:
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    assert spaces.told(lambda _: (noise * 6.5, noise))[0] is None
    assert spaces.told(lambda _: (noise * 0, noise))[0] is None


def test_strangers_have_nothing_in_common() -> None:
    first, second = (latents_of(space) for space in SPACES)
    assert spaces.difference(lambda _: (first, first), lambda _: (first, first)) == 0
    assert spaces.difference(lambda _: (first, first), lambda _: (second, second)) > 2 * spaces.FAR


def test_a_scale_names_its_family() -> None:
    assert [spaces.of_scale(space.scale) for space in SPACES] == list(SPACES)
