"""Where sampling begins when it starts from an image, and a solver that diffusers does not have."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tetrad.diffusion.noise import DDPM, scaled_linear
from tetrad.diffusion.randomness import generator
from tetrad.diffusion.samplers import InitLatents, create_scheduler, sample


@pytest.mark.parametrize("name,order", [("Heun", 2), ("Euler", 1), ("DPM++ 2M", 1)])
def test_half_of_the_steps_are_the_last_ones(name: str, order: int) -> None:
    """A solver of second order calls the network twice a step (once in the last), so its times are listed twice."""
    noise = DDPM(scaled_linear())
    solver = create_scheduler(name, noise, 8, torch.device("cpu"))
    expected = solver.timesteps[4 * order :].tolist()
    times: list[float] = []

    def predict(z_t: Tensor, t: Tensor, step: int) -> Tensor:
        times.append(t[0].item())
        return torch.zeros_like(z_t)

    latents = torch.ones(1, 4, 2, 2)
    list(sample(solver, predict, torch.zeros_like(latents), 8, [generator(0, 0, "steps")], InitLatents(latents, 4)))
    assert times == expected and len(times) == 4 * order - (order - 1)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("spacing", ["", " Karras"])
def test_dpm_2s_a_takes_the_steps_of_k_diffusion(prediction: str, spacing: str) -> None:
    """k-diffusion's rule in its own terms: t = -log σ, half a step to the middle, then noise up to the next σ."""
    noise, steps = DDPM(scaled_linear(), prediction), 6
    solver = create_scheduler(f"DPM++ 2S a{spacing}", noise, steps, torch.device("cpu"))
    sigmas = torch.cat([solver.sigmas[:1], solver.sigmas[1:-1:2]]).double()

    def clean(x: Tensor, sigma: Tensor) -> Tensor:  # any smooth function of x and sigma
        return torch.tanh(x) * 0.8 + sigma / (sigma + 1) * 0.1

    def predict(z_t: Tensor, t: Tensor, step: int) -> Tensor:
        first = solver.state_in_first_order
        sigma = (solver.sigmas[solver.step_index] if first else solver.sigmas_interpol[solver.step_index - 1]).double()
        x = z_t.double() * (sigma**2 + 1).sqrt()
        a, s = 1 / (sigma**2 + 1).sqrt(), sigma / (sigma**2 + 1).sqrt()
        eps = (x - clean(x, sigma)) / sigma
        return (eps if prediction == "epsilon" else a * eps - s * clean(x, sigma)).float()

    start = torch.randn(1, 4, 2, 2, generator=generator(0, 0, "z"))
    *_, ours = sample(solver, predict, start, steps, [generator(0, 0, "steps")])
    rng = generator(0, 0, "steps")
    x = start.double() * solver.init_noise_sigma
    for sigma, following in pairwise(sigmas):
        up = torch.minimum(following, (following**2 * (sigma**2 - following**2) / sigma**2).sqrt())
        down = (following**2 - up**2).sqrt()
        if down == 0:
            x = x + (x - clean(x, sigma)) / sigma * (down - sigma)
            continue
        t, t_next = -sigma.log(), -down.log()
        h = t_next - t
        s = t + h / 2
        middle = (-s).exp() / (-t).exp() * x - torch.expm1(-h / 2) * clean(x, sigma)
        x = (-t_next).exp() / (-t).exp() * x - torch.expm1(-h) * clean(middle, (-s).exp())
        x = x + torch.randn(x.shape, generator=rng) * up
    torch.testing.assert_close(ours.double(), x, rtol=1e-4, atol=1e-5)
