"""The functions of the training objective, where the result is known."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tetrad.diffusion.noise import DDPM, Prediction, rescale_zero_terminal_snr, scaled_linear, snr
from tetrad.diffusion.objective import (
    Huber,
    InputPerturbation,
    MinSnr,
    Objective,
    Pyramid,
    absolute_error,
    debiased_weight,
    gaussian,
)
from tetrad.diffusion.randomness import generator

EVERY = torch.arange(1000)
FIRST = DDPM(scaled_linear()), torch.zeros(4, dtype=torch.long)  # a noise schedule, and times that change nothing


def random_latents(name: str) -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=generator(0, 0, name))


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("weight", [MinSnr(5.0), debiased_weight])
def test_weights_stay_finite_at_an_snr_of_zero(weight: MinSnr, prediction: Prediction) -> None:
    noise = DDPM(rescale_zero_terminal_snr(scaled_linear()), prediction)
    assert snr(noise, torch.tensor([999])) == 0
    found = weight(noise, EVERY)
    assert found.isfinite().all() and (found >= 0).all() and (found[:-1] > 0).all()


def test_min_snr_at_pure_noise_is_one_for_epsilon_and_zero_for_v() -> None:
    table, end = rescale_zero_terminal_snr(scaled_linear()), torch.tensor([999])
    assert MinSnr(5.0)(DDPM(table), end).item() == 1
    assert MinSnr(5.0)(DDPM(table, "v"), end).item() < 1e-3


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_debiasing_weights_the_clean_error_the_same_for_both_predictions(prediction: Prediction) -> None:
    noise, t = DDPM(scaled_linear(), prediction), EVERY[50:]
    torch.testing.assert_close(debiased_weight(noise, t) * noise.error_scale(t), snr(noise, t).sqrt())


def test_the_v_target_at_pure_noise_is_the_negative_latent() -> None:
    noise, z, eps = DDPM(rescale_zero_terminal_snr(scaled_linear()), "v"), random_latents("z"), random_latents("eps")
    assert torch.equal(noise.target(z, eps, torch.full((4,), 999)), -z)


def test_huber_is_squared_for_small_errors_and_absolute_for_large_ones() -> None:
    output, target = random_latents("output"), random_latents("target")
    d = (output - target).abs()
    wide, narrow = Huber(1000.0)(output, target, *FIRST), Huber(1e-4, smooth=True)(output, target, *FIRST)
    torch.testing.assert_close(wide, d.square(), rtol=1e-4, atol=0)
    torch.testing.assert_close(narrow, 2 * absolute_error(output, target, *FIRST), rtol=1e-3, atol=1e-3)
    assert torch.equal(absolute_error(output, target, *FIRST), F.l1_loss(output, target, reduction="none"))


@pytest.mark.parametrize("c", [0.1, 1.0])
def test_huber_and_smooth_l1_are_kohyas_formulas(c: float) -> None:
    d = torch.linspace(-3, 3, 13)
    wanted = torch.tensor([2 * ((x * x + c * c) ** 0.5 - c) for x in d.tolist()])
    torch.testing.assert_close(Huber(c, smooth=True)(d, torch.zeros(13), FIRST[0], EVERY[:13]), wanted)
    torch.testing.assert_close(Huber(c)(d, torch.zeros(13), FIRST[0], EVERY[:13]), c * wanted)


def test_pyramid_noise_has_unit_variance_and_is_coarser() -> None:
    z = torch.zeros(64, 4, 32, 32)
    eps, plain = Pyramid()(z, generator(0, 0, "eps")), gaussian(z, generator(0, 0, "eps"))
    assert eps.shape == z.shape and eps.std().item() == pytest.approx(1, abs=1e-3)
    assert torch.equal(eps, Pyramid()(z, generator(0, 0, "eps")))

    def block_spread(noise: Tensor) -> float:
        return F.avg_pool2d(noise, 8).std().item()

    assert block_spread(plain) == pytest.approx(1 / 8, rel=0.1) and block_spread(eps) > 1.15 / 8
    assert Pyramid(layers=30)(torch.zeros(1, 4, 5, 3), generator(0, 0, "eps")).shape == (1, 4, 5, 3)


def test_input_perturbation_adds_its_variance() -> None:
    eps = torch.randn(64, 4, 32, 32, generator=generator(0, 0, "eps"))
    perturbed = InputPerturbation(0.5)(eps, generator(0, 0, "more"))
    assert perturbed.var().item() == pytest.approx(1.25, rel=0.01)
    assert ((perturbed - eps) * eps).mean().item() == pytest.approx(0, abs=0.005)
    assert torch.equal(Objective().input_noise(eps, generator(0, 0, "more")), eps)
