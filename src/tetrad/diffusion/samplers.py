"""From noise to a latent: the sampler names people know, on diffusers' schedulers."""

import difflib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
)
from torch import Generator, Tensor

from tetrad.diffusion.guidance import Predict
from tetrad.diffusion.noise import DDPM
from tetrad.errors import TetradError

SAMPLERS: dict[str, tuple[Any, dict[str, object]]] = {
    "DPM++ 2M": (DPMSolverMultistepScheduler, {}),
    "DPM++ 2M Karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "Euler": (EulerDiscreteScheduler, {}),
    "Euler a": (EulerAncestralDiscreteScheduler, {}),
    # diffusers' DDIM steps back by T // steps, which is right for this spacing only.
    "DDIM": (
        DDIMScheduler,
        {"clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": "leading", "steps_offset": 1},
    ),
}


def check_sampler(name: str) -> str:
    """A sampler's name as the table spells it; `name` in any case.  E3201 for a name nobody knows."""
    known = {key.lower(): key for key in SAMPLERS}
    if name.lower() not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.0)[0]
        raise TetradError("E3201", f"there is no sampler {name!r}; did you mean {known[near]!r}?")
    return known[name.lower()]


def scheduler(name: str, noise: DDPM) -> Any:
    """A diffusers scheduler for this noise table."""
    made, settings = SAMPLERS[check_sampler(name)]
    a = noise.alphas_cumprod.double()
    betas = 1 - a / torch.cat([torch.ones(1, dtype=torch.float64), a[:-1]])
    prediction = {"epsilon": "epsilon", "v": "v_prediction"}[noise.prediction]
    # From the last time evenly down to the first, so that unit noise is where it belongs.
    return made(
        **{"timestep_spacing": "linspace"} | settings,
        num_train_timesteps=len(a),
        trained_betas=betas.float().numpy(),
        prediction_type=prediction,
    )


def sample(
    name: str, noise: DDPM, predict: Predict, z: Tensor, steps: int, rng: Callable[[], list[Generator]]
) -> Iterator[Tensor]:
    """Latents (B, C, h, w) after each of `steps` steps, from unit noise z; `rng` gives a generator a picture."""
    solver = scheduler(name, noise)
    solver.set_timesteps(steps, device=z.device)
    z = z * solver.init_noise_sigma
    extra = {"generator": rng()} if isinstance(solver, EulerAncestralDiscreteScheduler) else {}
    for t in solver.timesteps:
        seen = solver.scale_model_input(z, t)
        z = solver.step(predict(seen, t.repeat(len(z))), t, z, **extra).prev_sample
        yield z
