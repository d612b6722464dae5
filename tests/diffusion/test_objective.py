"""The functions of the training objective, where the result is known."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tetrad.diffusion.noise import DDPM, Prediction, rescale_zero_terminal_snr, scaled_linear, snr
from tetrad.diffusion.objective import (
    HUBER_SCHEDULES,
    Huber,
    InputPerturbation,
    MinSnr,
    Objective,
    Pyramid,
    absolute_error,
    build_objective,
    debiased_weight,
    gaussian,
)
from tetrad.diffusion.randomness import generator
from tetrad.settings.loss import Loss

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


@pytest.mark.parametrize("smooth", [False, True])
def test_the_schedules_of_huber_are_those_of_sd_scripts(smooth: bool) -> None:
    """c at each time from the betas, as library/custom_train_functions.py and train_util.py have it."""
    alphas_cumprod, t, c = scaled_linear(), torch.tensor([0, 250, 500, 999]), 0.1
    sigma = ((1 - alphas_cumprod[t]) / alphas_cumprod[t]).sqrt()
    expected = {
        "constant": torch.full((4,), c),
        "exponential": torch.exp(-(-math.log(c) / 1000) * t),
        "snr": (1 - c) / (1 + sigma) ** 2 + c,
    }
    d = torch.linspace(-3, 3, 4)
    for name, each in expected.items():
        wanted = 2 * (1 if smooth else each) * ((d * d + each * each).sqrt() - each)
        found = Huber(c, smooth, HUBER_SCHEDULES[name])(d, torch.zeros(4), DDPM(alphas_cumprod), t)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_weights_are_multiplied_as_sd_scripts_do() -> None:
    alphas_cumprod = scaled_linear()
    ratio = alphas_cumprod / (1 - alphas_cumprod)
    expected = ratio.clamp(max=5) / ratio / ratio.clamp(max=1000).sqrt()
    objective = build_objective(Loss(min_snr_gamma=5, debiased=True))
    torch.testing.assert_close(objective.weight(DDPM(alphas_cumprod), EVERY), expected, rtol=1e-4, atol=0)


def test_the_offset_is_added_before_the_layers_of_the_pyramid() -> None:
    """As in sd-scripts: ε, then the offset, then the layers, and all of it at unit variance."""
    objective = build_objective(Loss(noise_offset=0.5, pyramid_layers=3, pyramid_discount=0.4))
    z = torch.zeros(8, 4, 16, 16)
    found, rng = objective.noise(z, generator(0, 0, "eps")), generator(0, 0, "eps")
    eps = torch.randn(z.shape, generator=rng) + 0.5 * torch.randn(8, 4, 1, 1, generator=rng)
    size = 16.0
    for layer in range(1, 4):
        size /= 2 + 2 * torch.rand((), generator=rng).item()
        side = max(1, int(size))
        eps += 0.4**layer * F.interpolate(torch.randn(8, 4, side, side, generator=rng), (16, 16), mode="bilinear")
        if side == 1:
            break
    torch.testing.assert_close(found, eps / eps.std())


def test_masked_losses_are_means_over_the_mask_or_over_the_image() -> None:
    error, mask = torch.rand(2, 4, 3, 3, generator=generator(0, 0, "error")), torch.zeros(2, 1, 3, 3)
    mask[:, :, :2], mask[:, :, 2] = 1, 0.25
    over_image = build_objective(Loss(normalize_masks=False)).reduce(error, mask)
    torch.testing.assert_close(over_image, (error * mask).flatten(1).mean(1))
    torch.testing.assert_close(build_objective(Loss()).reduce(error, mask), over_image / (6 + 3 * 0.25) * 9)
    assert torch.equal(build_objective(Loss(normalize_masks=False)).reduce(error, None), error.flatten(1).mean(1))


def test_the_offset_grows_with_the_mean_of_a_channel_and_its_strength_is_drawn_for_the_batch() -> None:
    """sd-scripts' apply_noise_offset and get_noise_noisy_latents_and_timesteps."""
    z = torch.stack([torch.zeros(4, 8, 8), torch.full((4, 8, 8), -3.0)])
    rng = generator(0, 0, "eps")
    eps, constants = torch.randn(z.shape, generator=rng), torch.randn(2, 4, 1, 1, generator=rng)
    found = build_objective(Loss(noise_offset=0.1, adaptive_noise_scale=0.2)).noise(z, generator(0, 0, "eps"))
    torch.testing.assert_close(found, eps + torch.tensor([0.1, 0.7]).view(2, 1, 1, 1) * constants)
    less = build_objective(Loss(noise_offset=0.1, adaptive_noise_scale=-0.2)).noise(z, generator(0, 0, "eps"))
    assert torch.equal(less[1], eps[1])  # at least 0
    strength = torch.rand((), generator=rng)
    drawn = build_objective(Loss(noise_offset=0.1, noise_offset_random=True)).noise(z, generator(0, 0, "eps"))
    torch.testing.assert_close(drawn, eps + strength * 0.1 * constants)
    perturb = build_objective(Loss(input_perturbation=0.5, input_perturbation_random=True)).input_noise
    rng = generator(0, 0, "more")
    strength = torch.rand((), generator=rng)
    torch.testing.assert_close(
        perturb(eps, generator(0, 0, "more")), eps + 0.5 * strength * torch.randn(z.shape, generator=rng)
    )


def test_the_weights_of_v_are_those_of_sd_scripts() -> None:
    """scale_v_prediction_loss_like_noise_prediction and add_v_prediction_like_loss."""
    alphas_cumprod = scaled_linear()
    ratio = (alphas_cumprod / (1 - alphas_cumprod)).clamp(max=1000)
    scaled = build_objective(Loss(scale_v_loss=True)).weight(DDPM(alphas_cumprod, "v"), EVERY)
    torch.testing.assert_close(scaled, ratio / (ratio + 1), rtol=2e-3, atol=0)
    added = build_objective(Loss(v_loss_weight=0.3)).weight(DDPM(alphas_cumprod), EVERY)
    torch.testing.assert_close(added, 1 + 0.3 * (ratio + 1) / ratio, rtol=2e-3, atol=0)
