"""The slots of the objective, where their answer is known."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tetrad.diffusion.noise import DDPM, Prediction, scaled_linear, snr, zero_terminal
from tetrad.diffusion.objective import Huber, MinSnr, Objective, Perturbed, Pyramid, absolute, debiased, gaussian
from tetrad.diffusion.randomness import generator

EVERY = torch.arange(1000)


def draws(name: str) -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=generator(0, 0, name))


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("weight", [MinSnr(5.0), debiased])
def test_no_weight_is_lost_where_there_is_no_signal(weight: MinSnr, prediction: Prediction) -> None:
    noise = DDPM(zero_terminal(scaled_linear()), prediction)
    assert snr(noise, torch.tensor([999])) == 0
    found = weight(noise, EVERY)
    assert found.isfinite().all() and (found >= 0).all() and (found[:-1] > 0).all()


def test_min_snr_is_one_at_the_noisy_end_for_epsilon_and_nothing_for_v() -> None:
    table, end = zero_terminal(scaled_linear()), torch.tensor([999])
    assert MinSnr(5.0)(DDPM(table), end).item() == 1
    assert MinSnr(5.0)(DDPM(table, "v"), end).item() < 1e-3


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_debiasing_weighs_the_clean_error_alike_for_both_predictions(prediction: Prediction) -> None:
    noise, t = DDPM(scaled_linear(), prediction), EVERY[50:]
    torch.testing.assert_close(debiased(noise, t) * noise.error_scale(t), snr(noise, t).sqrt())


def test_v_of_pure_noise_is_the_picture_turned_round() -> None:
    noise, z, eps = DDPM(zero_terminal(scaled_linear()), "v"), draws("z"), draws("eps")
    assert torch.equal(noise.target(z, eps, torch.full((4,), 999)), -z)


def test_huber_is_squared_near_and_absolute_far() -> None:
    output, target = draws("output"), draws("target")
    d = (output - target).abs()
    wide, narrow = Huber(1000.0)(output, target), Huber(1e-4, smooth=True)(output, target)
    torch.testing.assert_close(wide, d.square(), rtol=1e-4, atol=0)
    torch.testing.assert_close(narrow, 2 * absolute(output, target), rtol=1e-3, atol=1e-3)
    assert torch.equal(absolute(output, target), F.l1_loss(output, target, reduction="none"))


@pytest.mark.parametrize("c", [0.1, 1.0])
def test_huber_and_its_smooth_kind_are_kohyas_formulas(c: float) -> None:
    d = torch.linspace(-3, 3, 13)
    wanted = torch.tensor([2 * ((x * x + c * c) ** 0.5 - c) for x in d.tolist()])
    torch.testing.assert_close(Huber(c, smooth=True)(d, torch.zeros(13)), wanted)
    torch.testing.assert_close(Huber(c)(d, torch.zeros(13)), c * wanted)


def test_pyramid_noise_is_of_unit_spread_and_coarser() -> None:
    z = torch.zeros(64, 4, 32, 32)
    eps, plain = Pyramid()(z, generator(0, 0, "eps")), gaussian(z, generator(0, 0, "eps"))
    assert eps.shape == z.shape and eps.std().item() == pytest.approx(1, abs=1e-3)
    assert torch.equal(eps, Pyramid()(z, generator(0, 0, "eps")))

    def of_blocks(noise: Tensor) -> float:
        return F.avg_pool2d(noise, 8).std().item()

    assert of_blocks(plain) == pytest.approx(1 / 8, rel=0.1) and of_blocks(eps) > 1.15 / 8
    assert Pyramid(layers=30)(torch.zeros(1, 4, 5, 3), generator(0, 0, "eps")).shape == (1, 4, 5, 3)


def test_perturbed_noise_is_wider_by_what_is_added() -> None:
    eps = torch.randn(64, 4, 32, 32, generator=generator(0, 0, "eps"))
    seen = Perturbed(0.5)(eps, generator(0, 0, "more"))
    assert seen.var().item() == pytest.approx(1.25, rel=0.01)
    assert ((seen - eps) * eps).mean().item() == pytest.approx(0, abs=0.005)
    assert torch.equal(Objective().seen(eps, generator(0, 0, "more")), eps)
