"""Distributions of the time steps: ranges are exact, and quantiles are those of the formulas."""

import pytest
import torch
from torch import Tensor

from tetrad.diffusion.noise import DDPM, scaled_linear
from tetrad.diffusion.timesteps import Timesteps, build_timesteps
from tetrad.errors import TetradError
from tetrad.settings.loss import Loss

NOISE = DDPM(scaled_linear())
QUANTILES = (torch.arange(20_000) + 0.5) / 20_000


def draw(**settings: object) -> Tensor:
    return build_timesteps(Loss(**settings))(NOISE, QUANTILES)


def test_without_settings_every_time_step_is_drawn_equally_often() -> None:
    assert torch.equal(draw(), NOISE.times(QUANTILES)) and torch.equal(draw().bincount(), torch.full((1000,), 20))


@pytest.mark.parametrize("lowest", range(0, 999, 37))
def test_a_range_is_drawn_from_its_lowest_step_to_the_one_below_its_highest(lowest: int) -> None:
    """As in sd-scripts: min_timestep counts, max_timestep does not."""
    edges = torch.tensor([0.0, 2.0**-24, 1 - 2.0**-24])
    times = build_timesteps(Loss(min_timestep=lowest, max_timestep=lowest + 1))(NOISE, edges)
    assert times.tolist() == [lowest] * 3
    wide = draw(min_timestep=lowest, max_timestep=min(1000, lowest + 300))
    assert (wide.min(), wide.max()) == (lowest, min(1000, lowest + 300) - 1)


def test_logit_normal_is_the_logistic_function_of_normal_numbers() -> None:
    """Its quartiles: σ(m ± 0.6745 s), with the quartile of a normal variable."""
    times = draw(timestep_distribution="logit_normal", timestep_mean=0.5, timestep_std=0.8).float() / 1000
    expected = torch.sigmoid(torch.tensor([0.5 - 0.67449 * 0.8, 0.5, 0.5 + 0.67449 * 0.8]))
    torch.testing.assert_close(times.quantile(torch.tensor([0.25, 0.5, 0.75])), expected, atol=1.1e-3, rtol=0)


@pytest.mark.parametrize(
    "name,median",
    [("content", 1 - 0.5**3), ("style", 0.5**3), ("cosmap", 0.5), ("uniform", 0.5)],
)
def test_half_of_the_times_are_below_the_median_of_the_formula(name: str, median: float) -> None:
    assert draw(timestep_distribution=name).float().median().item() / 1000 == pytest.approx(median, abs=2e-3)


@pytest.mark.parametrize("name", ["uniform", "logit_normal", "cosmap", "content", "style"])
def test_every_quantile_gives_a_time_step(name: str) -> None:
    edges = torch.tensor([0.0, 2.0**-24, 0.5, 1 - 2.0**-24])
    times = build_timesteps(Loss(timestep_distribution=name))(NOISE, edges)
    assert (times >= 0).all() and (times < 1000).all() and (times.diff() >= 0).all()


def test_a_range_without_a_time_step_is_refused() -> None:
    with pytest.raises(TetradError, match=r"E3103.*loss.min_timestep = 500"):
        Loss(min_timestep=500, max_timestep=500)


def test_only_the_default_needs_no_image() -> None:
    assert build_timesteps(Loss()) == Timesteps() != build_timesteps(Loss(max_timestep=900))
