"""Noise schedule, loss weights and samplers equal those of diffusers."""

from typing import Any

import pytest
import sd1_pipeline
import tiny
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from diffusers.training_utils import compute_snr
from torch import Generator

from tetrad.diffusion.noise import DDPM, Prediction, corrupt, rescale_zero_terminal_snr, scaled_linear, snr
from tetrad.diffusion.objective import MinSnr
from tetrad.diffusion.randomness import generator
from tetrad.generation.generate import denoise
from tetrad.generation.request import Request

SD1: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
PREDICTION_TYPES: dict[Prediction, str] = {"epsilon": "epsilon", "v": "v_prediction"}
EVERY_TIME = torch.arange(1000)
PREDICTIONS = pytest.mark.parametrize("prediction", list(PREDICTION_TYPES))
# diffusers multiplies a thousand factors in float32, each rounded to 6e-8; we multiply in float64.
TABLE = {"rtol": 2e-5, "atol": 1e-7}


def build_both(prediction: Prediction) -> tuple[DDPM, DDPMScheduler]:
    return DDPM(scaled_linear(), prediction), DDPMScheduler(**SD1, prediction_type=PREDICTION_TYPES[prediction])


def make_latents(name: str, count: int) -> torch.Tensor:
    return torch.randn(count, 4, 2, 2, generator=generator(0, 0, name))


def test_the_noise_schedule_equals_diffusers() -> None:
    ours, theirs = build_both("epsilon")
    torch.testing.assert_close(ours.alphas_cumprod, theirs.alphas_cumprod, **TABLE)


def test_the_zero_terminal_schedule_equals_diffusers() -> None:
    theirs = DDPMScheduler(**SD1, prediction_type="v_prediction", rescale_betas_zero_snr=True).alphas_cumprod
    ours = rescale_zero_terminal_snr(scaled_linear())
    # diffusers multiplies its betas again, so the small values at the end carry all rounding errors before them.
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert ours[-1] == 0


def test_noisy_latents_equal_diffusers() -> None:
    ours, theirs = build_both("epsilon")
    z, eps = make_latents("z", 1000), make_latents("eps", 1000)
    noisy = corrupt(ours, z, eps, EVERY_TIME)
    torch.testing.assert_close(noisy, theirs.add_noise(z, eps, EVERY_TIME), atol=1e-5, rtol=0)


@PREDICTIONS
def test_the_training_target_equals_diffusers(prediction: Prediction) -> None:
    ours, theirs = build_both(prediction)
    z, eps = make_latents("z", 1000), make_latents("eps", 1000)
    expected = {"epsilon": eps, "v": theirs.get_velocity(z, eps, EVERY_TIME)}[prediction]
    torch.testing.assert_close(ours.target(z, eps, EVERY_TIME), expected, atol=1e-5, rtol=0)


@PREDICTIONS
def test_the_denoised_latents_equal_diffusers(prediction: Prediction) -> None:
    ours = build_both(prediction)[0]
    theirs = DDIMScheduler(**SD1, prediction_type=PREDICTION_TYPES[prediction], clip_sample=False)
    theirs.set_timesteps(1000)
    output, z_t = make_latents("output", 3), make_latents("z_t", 3)
    for t in (0, 400, 999):
        expected = theirs.step(output, t, z_t).pred_original_sample
        # At the last time ε is divided by α = 0.068, and the schedules differ by 2e-5 of that.
        torch.testing.assert_close(
            ours.predict_clean(output, z_t, torch.tensor([t] * 3)), expected, atol=1e-3, rtol=1e-4
        )


def test_snr_equals_diffusers() -> None:
    ours, theirs = build_both("epsilon")
    torch.testing.assert_close(snr(ours, EVERY_TIME), compute_snr(theirs, EVERY_TIME), rtol=1e-4, atol=1e-7)


@PREDICTIONS
@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_equals_the_formula_of_diffusers_training_scripts(prediction: Prediction, gamma: float) -> None:
    ours, theirs = build_both(prediction)
    ratio = compute_snr(theirs, EVERY_TIME)
    clipped = torch.stack([ratio, torch.full_like(ratio, gamma)], dim=1).min(dim=1)[0]
    expected = clipped / {"epsilon": ratio, "v": ratio + 1}[prediction]
    torch.testing.assert_close(MinSnr(gamma)(ours, EVERY_TIME), expected, rtol=1e-4, atol=1e-7)


# Each sampler's class and settings in diffusers, written out here and not taken from our own table.
SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "DPM++ 2M": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "DPM++ 2M Karras": (DPMSolverMultistepScheduler, {"solver_order": 2, "use_karras_sigmas": True}),
    "Euler": (EulerDiscreteScheduler, {}),
    "Euler a": (EulerAncestralDiscreteScheduler, {}),
    "DDIM": (
        DDIMScheduler,
        {"clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": "leading", "steps_offset": 1},
    ),
    "DPM++ 2M SDE Karras": (
        DPMSolverMultistepScheduler,
        {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
    ),
    "Heun": (HeunDiscreteScheduler, {}),
    "UniPC": (UniPCMultistepScheduler, {}),
}


@pytest.mark.parametrize(
    "name,prediction",
    [(name, "epsilon") for name in SCHEDULERS]
    + [pytest.param(name, "v", marks=() if name == "DPM++ 2M" else pytest.mark.wide) for name in SCHEDULERS],
)
def test_sampling_equals_diffusers_pipeline(name: str, prediction: Prediction) -> None:
    model = tiny.build_model()
    model.noise = DDPM(scaled_linear(), prediction)
    scheduler_class, settings = SCHEDULERS[name]
    timesteps: dict[str, Any] = {"timestep_spacing": "linspace"} | SD1 | settings
    scheduler = scheduler_class(**timesteps, prediction_type=PREDICTION_TYPES[prediction])
    pipeline = sd1_pipeline.build(model, scheduler)
    requests = [Request(words, "blurry", seed, 5, 4.0, name, 64, 64) for words, seed in (("a cat", 1), ("a dog", 2))]
    *_, ours = denoise(model, requests)
    theirs = pipeline(
        [request.prompt for request in requests],
        negative_prompt=[request.negative_prompt for request in requests],
        # diffusers uses one generator for the initial latents and the steps.
        generator=[Generator().manual_seed(request.seed) for request in requests],
        num_inference_steps=5,
        guidance_scale=4.0,
        width=64,
        height=64,
        output_type="latent",
    ).images
    # The largest observed difference is 4e-5, on latents up to 59, because the schedules differ by rounding.
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-5)
