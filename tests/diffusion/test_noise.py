"""Noise, samplers, guidance and randomness, where the result is known in closed form."""

import pytest
import torch
from torch import Tensor

from tetrad.diffusion.guidance import apply_guidance, rescale_guidance
from tetrad.diffusion.noise import DDPM, corrupt, rescale_zero_terminal_snr, scaled_linear, snr
from tetrad.diffusion.objective import MinSnr, Offset, gaussian
from tetrad.diffusion.randomness import generator, stratified_quantiles
from tetrad.diffusion.samplers import SAMPLERS, create_scheduler, resolve_sampler_name, sample

NOISES = [DDPM(scaled_linear()), DDPM(scaled_linear(), "v")]


@pytest.mark.parametrize("noise", NOISES)
def test_denoising_with_the_exact_target_returns_the_latent(noise: DDPM) -> None:
    rng = generator(0, 0, "test")
    z, eps = torch.randn(64, 4, 8, 8, generator=rng), torch.randn(64, 4, 8, 8, generator=rng)
    t = noise.times(torch.linspace(0, 0.999, 64))
    found = noise.predict_clean(noise.target(z, eps, t), corrupt(noise, z, eps, t), t)
    # At the last time α is 0.068, so rounding of ε in float32 is divided by that.
    torch.testing.assert_close(found, z, atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    "name,noise",
    [
        pytest.param(name, noise, marks=pytest.mark.wide if noise is NOISES[1] and " " in name else ())
        for name in SAMPLERS
        if name != "LCM"  # it does not follow the path
        for noise in NOISES
    ],
)
def test_sampling_gaussian_data_gives_its_spread(name: str, noise: DDPM) -> None:
    spread = 0.4  # of data N(0, spread²), whose ideal denoiser is known

    def ideal(z_t: Tensor, t: Tensor, step: int) -> Tensor:
        a, s = scales(noise, t)
        clean = a * spread**2 * z_t / (a**2 * spread**2 + s**2)
        eps = (z_t - a * clean) / s
        return eps if noise.prediction == "epsilon" else a * eps - s * clean

    start = torch.randn(8, 4, 16, 16, generator=generator(0, 0, "z"))
    solver = create_scheduler(name, noise, 100, torch.device("cpu"))
    rng = [generator(0, n, "steps") for n in range(8)]
    *_, z = sample(solver, ideal, start, 100, rng)
    # 8,192 numbers know their spread to 0.003; the rest is the samplers' own error at 100 steps, which halves at 300.
    assert abs(z.std().item() - spread) < 0.045


@pytest.mark.parametrize(
    "theirs,ours",
    [
        ("dpmpp_2m_sde karras", "DPM++ 2M SDE Karras"),
        ("euler_ancestral", "Euler a"),
        ("uni_pc", "UniPC"),
        ("dpm_2_ancestral", "DPM2 a"),
        ("dpmpp_2s_ancestral karras", "DPM++ 2S a Karras"),
        ("  EULER   A ", "Euler a"),
        ("Heun Align Your Steps", "Heun AYS"),
    ],
)
def test_samplers_have_the_names_of_other_tools(theirs: str, ours: str) -> None:
    assert resolve_sampler_name(theirs) == ours


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_works_from_pure_noise(name: str) -> None:
    """With a zero-terminal schedule, where sigmas reach thousands and many of Karras' fall on the last time."""
    noise = DDPM(rescale_zero_terminal_snr(scaled_linear()), "v")

    def zero(z_t: Tensor, t: Tensor, step: int) -> Tensor:  # a network whose data are all 0
        a, s = noise.scales(t.round().long())
        return a * z_t / s

    solver = create_scheduler(name, noise, 50, torch.device("cpu"))
    assert solver.timesteps[0] > 990 or name.endswith(("LCM", "AYS"))  # these have their own first timestep
    start = torch.randn(1, 4, 2, 2, generator=generator(0, 0, "z"))
    *_, z = sample(solver, zero, start, 50, [generator(0, 0, "steps")])
    assert z.abs().max() < 0.3


def scales(noise: DDPM, t: Tensor) -> tuple[Tensor, Tensor]:
    """α and σ between the times of the table, for samplers that stop there."""
    low = t.floor().long()
    share = (t - low).view(-1, 1, 1, 1)
    (a0, _), (a1, _) = noise.scales(low), noise.scales((low + 1).clamp(max=999))
    a = a0 + share * (a1 - a0)
    return a, (1 - a**2).sqrt()


@pytest.mark.parametrize("noise", NOISES)
def test_min_snr_weights_the_clean_error_the_same_for_both_predictions(noise: DDPM) -> None:
    t = torch.arange(0, 1000, 50)
    on_clean = MinSnr(5.0)(noise, t) * noise.error_scale(t)
    torch.testing.assert_close(on_clean, snr(noise, t).clamp(max=5.0))


@pytest.mark.parametrize("noise", NOISES)
def test_error_scale_is_the_ratio_of_the_two_errors(noise: DDPM) -> None:
    rng = generator(0, 0, "test")
    z, eps = torch.randn(20, 4, 2, 2, generator=rng).double(), torch.randn(20, 4, 2, 2, generator=rng).double()
    t = torch.arange(0, 1000, 50)
    z_t, target = corrupt(noise, z, eps, t), noise.target(z, eps, t)
    wrong = target + 0.1
    clean_error = (noise.predict_clean(wrong, z_t, t) - z).square().mean((1, 2, 3))
    torch.testing.assert_close(
        noise.error_scale(t).double() * clean_error, torch.full((20,), 0.01).double(), rtol=1e-4, atol=0
    )


def test_offset_noise_moves_whole_channels() -> None:
    z = torch.zeros(512, 4, 8, 8)
    plain, moved = gaussian(z, generator(0, 0, "a")), Offset(0.5)(z, generator(0, 0, "a"))
    shift = (moved - plain).std((2, 3))
    assert shift.max() < 1e-6  # constant over a channel
    assert abs((moved - plain)[:, :, 0, 0].std().item() - 0.5) < 0.03


def test_randomness_is_a_function_of_seed_step_and_purpose() -> None:
    values = {
        (seed, step, purpose): torch.rand(1, generator=generator(seed, step, purpose)).item()
        for seed in (0, 1)
        for step in (0, 1)
        for purpose in ("noise", "order")
    }
    assert len(set(values.values())) == 8
    assert torch.rand(1, generator=generator(1, 1, "order")).item() == values[1, 1, "order"]


@pytest.mark.parametrize("count", [8, 16, 64])
def test_any_run_of_stratified_values_covers_all_times(count: int) -> None:
    for first in (0, 1, 7, 100, 12345):
        filled = (stratified_quantiles(0, first, count) * count).long().unique()
        # Independent draws would fill 1 - 1/e = 63 % of the strata.
        assert len(filled) >= 0.75 * count


def test_stratified_values_do_not_depend_on_batching() -> None:
    whole = stratified_quantiles(4, 0, 12)
    assert torch.equal(whole, torch.cat([stratified_quantiles(4, 0, 5), stratified_quantiles(4, 5, 7)]))


def test_guidance_scale_1_gives_the_conditional_output() -> None:
    unconditional, conditional = torch.full((4, 8, 8), 1.0), torch.full((4, 8, 8), 3.0)
    assert torch.equal(apply_guidance(unconditional, [(conditional, 1.0)], 1.0), conditional)
    assert torch.equal(apply_guidance(unconditional, [(conditional, 1.0)], 7.5), torch.full_like(conditional, 16.0))


def test_several_prompts_add_their_weighted_differences() -> None:
    unconditional, cat, dog = (torch.full((4, 8, 8), value) for value in (1.0, 3.0, 4.0))
    output = apply_guidance(unconditional, [(cat, 1.0), (dog, -0.5)], 2.0)
    assert torch.equal(output, torch.full_like(cat, 1 + 2 * (1.0 * 2 - 0.5 * 3)))


def test_guidance_rescale_restores_the_standard_deviation() -> None:
    conditional = torch.randn(4, 8, 8, generator=generator(0, 0, "given"))
    out = 5 * conditional + 1
    assert torch.equal(rescale_guidance(out, conditional, 0.0), out)
    torch.testing.assert_close(rescale_guidance(out, conditional, 1.0).std(), conditional.std())
