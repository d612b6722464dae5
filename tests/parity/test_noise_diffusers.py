"""The noise, its weights and the samplers are diffusers' own."""

from typing import Any

import pytest
import tiny
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from diffusers.training_utils import compute_snr
from torch import Generator

from tetrad.diffusion.noise import DDPM, Prediction, corrupt, scaled_linear, snr, zero_terminal
from tetrad.diffusion.objective import MinSnr
from tetrad.diffusion.randomness import generator
from tetrad.generation.generate import denoised
from tetrad.generation.request import Request
from tetrad.models.text import tokenizer

SD1: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
THEIR_WORD: dict[Prediction, str] = {"epsilon": "epsilon", "v": "v_prediction"}
EVERY_TIME = torch.arange(1000)
PREDICTIONS = pytest.mark.parametrize("prediction", list(THEIR_WORD))
# diffusers multiplies a thousand factors in float32, each rounded to 6e-8; we multiply in float64.
TABLE = {"rtol": 2e-5, "atol": 1e-7}


def both(prediction: Prediction) -> tuple[DDPM, DDPMScheduler]:
    return DDPM(scaled_linear(), prediction), DDPMScheduler(**SD1, prediction_type=THEIR_WORD[prediction])


def latents(name: str, number: int) -> torch.Tensor:
    return torch.randn(number, 4, 2, 2, generator=generator(0, 0, name))


def test_the_noise_table_is_diffusers() -> None:
    ours, theirs = both("epsilon")
    torch.testing.assert_close(ours.alphas_cumprod, theirs.alphas_cumprod, **TABLE)


def test_the_zero_terminal_table_is_diffusers() -> None:
    theirs = DDPMScheduler(**SD1, prediction_type="v_prediction", rescale_betas_zero_snr=True).alphas_cumprod
    ours = zero_terminal(scaled_linear())
    # Their betas are turned into products again, so the small end carries the rounding of all before it.
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert ours[-1] == 0


def test_a_noisy_latent_is_diffusers() -> None:
    ours, theirs = both("epsilon")
    z, eps = latents("z", 1000), latents("eps", 1000)
    noisy = corrupt(ours, z, eps, EVERY_TIME)
    torch.testing.assert_close(noisy, theirs.add_noise(z, eps, EVERY_TIME), atol=1e-5, rtol=0)


@PREDICTIONS
def test_the_target_is_diffusers(prediction: Prediction) -> None:
    ours, theirs = both(prediction)
    z, eps = latents("z", 1000), latents("eps", 1000)
    wanted = {"epsilon": eps, "v": theirs.get_velocity(z, eps, EVERY_TIME)}[prediction]
    torch.testing.assert_close(ours.target(z, eps, EVERY_TIME), wanted, atol=1e-5, rtol=0)


@PREDICTIONS
def test_the_clean_latent_an_output_stands_for_is_diffusers(prediction: Prediction) -> None:
    ours = both(prediction)[0]
    theirs = DDIMScheduler(**SD1, prediction_type=THEIR_WORD[prediction], clip_sample=False)
    theirs.set_timesteps(1000)
    output, z_t = latents("output", 3), latents("z_t", 3)
    for t in (0, 400, 999):
        wanted = theirs.step(output, t, z_t).pred_original_sample
        # At the last time ε is divided by α = 0.068, and the tables differ by 2e-5 of that.
        torch.testing.assert_close(ours.denoised(output, z_t, torch.tensor([t] * 3)), wanted, atol=1e-3, rtol=1e-4)


def test_snr_is_diffusers() -> None:
    ours, theirs = both("epsilon")
    torch.testing.assert_close(snr(ours, EVERY_TIME), compute_snr(theirs, EVERY_TIME), rtol=1e-4, atol=1e-7)


@PREDICTIONS
@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_is_the_formula_of_diffusers_training_scripts(prediction: Prediction, gamma: float) -> None:
    ours, theirs = both(prediction)
    ratio = compute_snr(theirs, EVERY_TIME)
    clipped = torch.stack([ratio, torch.full_like(ratio, gamma)], dim=1).min(dim=1)[0]
    wanted = clipped / {"epsilon": ratio, "v": ratio + 1}[prediction]
    torch.testing.assert_close(MinSnr(gamma)(ours, EVERY_TIME), wanted, rtol=1e-4, atol=1e-7)


# The classes and settings that these names stand for, written out again and not taken from our table.
CLASSES: dict[str, tuple[Any, dict[str, Any]]] = {
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


@PREDICTIONS
@pytest.mark.parametrize("name", list(CLASSES))
def test_sampling_is_diffusers_pipeline(name: str, prediction: Prediction) -> None:
    model = tiny.model()
    model.noise = DDPM(scaled_linear(), prediction)
    made, settings = CLASSES[name]
    pipeline = StableDiffusionPipeline(
        vae=model.vae.network,
        text_encoder=model.texts[0].network,
        tokenizer=tokenizer(),
        unet=model.unet,
        scheduler=made(**{"timestep_spacing": "linspace"} | SD1 | settings, prediction_type=THEIR_WORD[prediction]),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    requests = [Request(words, "blurry", seed, 5, 4.0, name, 64, 64) for words, seed in (("a cat", 1), ("a dog", 2))]
    *_, ours = denoised(model, requests)
    theirs = pipeline(
        [request.prompt for request in requests],
        negative_prompt=[request.negative for request in requests],
        generator=[
            Generator().manual_seed(request.seed) for request in requests
        ],  # theirs for the latents and the steps
        num_inference_steps=5,
        guidance_scale=4.0,
        width=64,
        height=64,
        output_type="latent",
    ).images
    # Seen: 4e-5, on latents that reach 59, from tables that differ by rounding.
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-5)
