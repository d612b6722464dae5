"""From noise to a latent: the sampler names people know, on diffusers' schedulers."""

import difflib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)
from diffusers.schedulers import AysSchedules
from torch import Generator, Tensor

from tetrad.diffusion.noise import DDPM
from tetrad.errors import TetradError

Predict = Callable[[Tensor, Tensor, int], Tensor]  # noisy latents (B, C, h, w), times (B,), the step from 1

SDE: dict[str, object] = {"algorithm_type": "sde-dpmsolver++"}
# diffusers' DDIM steps back by T // steps, which is right for this spacing only.
LEADING: dict[str, object] = {"timestep_spacing": "leading", "steps_offset": 1}
SOLVERS: dict[str, tuple[Any, dict[str, object]]] = {
    "DPM++ 2M": (DPMSolverMultistepScheduler, {}),
    "DPM++ 2M SDE": (DPMSolverMultistepScheduler, SDE),
    "DPM++ 3M SDE": (DPMSolverMultistepScheduler, SDE | {"solver_order": 3}),
    # A1111's calls the network twice a step and takes its noise from torchsde. diffusers' own form of it goes two
    # steps with two calls, and takes its noise from each picture's generator.
    "DPM++ SDE": (DPMSolverSinglestepScheduler, SDE | {"lower_order_final": True}),
    "Euler": (EulerDiscreteScheduler, {}),
    "Euler a": (EulerAncestralDiscreteScheduler, {}),
    "Heun": (HeunDiscreteScheduler, {}),
    "DPM2": (KDPM2DiscreteScheduler, {}),
    "DPM2 a": (KDPM2AncestralDiscreteScheduler, {}),
    "UniPC": (UniPCMultistepScheduler, {}),
    "DDIM": (DDIMScheduler, LEADING | {"clip_sample": False, "set_alpha_to_one": False}),
    "LCM": (LCMScheduler, LEADING | {"clip_sample": False, "set_alpha_to_one": True}),
}
SPACINGS: dict[str, dict[str, object]] = {
    "": {},
    "Karras": {"use_karras_sigmas": True},  # [Karras et al. 2022, eq. 5]
    "Exponential": {"use_exponential_sigmas": True},
    "AYS": {"use_karras_sigmas": True},  # Align Your Steps; its own numbers go in Karras' place  [Sabour et al. 2024]
}
# How ComfyUI, k-diffusion and kohya say what A1111 says otherwise.
ELSEWHERE = {"dpmpp": "dpm++", "ancestral": "a", "uni pc": "unipc", "dpm 2": "dpm2", "align your steps": "ays"}
UNSPACED = ("DDIM", "LCM")  # they go by times and have no noise levels to place
SAMPLERS = {
    f"{name} {spacing}".strip(): (name, spacing)
    for name in SOLVERS
    for spacing in SPACINGS
    if not spacing or name not in UNSPACED
}
SAMPLERS["DPM++ 3M SDE"] = ("DPM++ 3M SDE", "Exponential")  # on even times its third order diverges as steps grow
AYS = {"sdxl": AysSchedules["StableDiffusionXLSigmas"]}  # by family; for every other one, Stable Diffusion 1's
LAST_AYS = 0.029  # where the published levels end; diffusers has the zero that is stepped to in its place
SMALLEST = 2.0**-24  # stands for an ᾱ of zero, whose noise level would be infinite


def check_sampler(name: str) -> str:
    """A sampler's name as the table spells it; `name` in any case, or as ComfyUI has it.  E3201 for an unknown one."""
    known = {key.lower(): key for key in SAMPLERS}
    asked = " ".join(name.lower().replace("_", " ").split())
    for theirs, ours in ELSEWHERE.items():
        asked = asked.replace(theirs, ours)
    if asked not in known:
        near = difflib.get_close_matches(asked, known, n=1)
        meant = f"did you mean {known[near[0]]!r}? Else " if near else ""
        raise TetradError("E3201", f"there is no sampler {name!r}; {meant}{called()}")
    return known[asked]


def called() -> str:
    """All names, in half a sentence."""
    spaced = [name for name in SOLVERS if name not in UNSPACED]
    spacings = ", ".join(filter(None, SPACINGS))
    return f"there are {', '.join(spaced)}, each also with one of {spacings} behind it, and {', '.join(UNSPACED)}"


def scheduler(name: str, noise: DDPM, steps: int, device: torch.device, family: str = "") -> Any:
    """A diffusers scheduler for this noise table, its steps placed.  E3203 where the sampler cannot go so many."""
    solver, spacing = SAMPLERS[check_sampler(name)]
    made, settings = SOLVERS[solver]
    if made is EulerAncestralDiscreteScheduler and spacing:
        # diffusers' own knows one spacing only, but goes by any noise levels it is given.
        placed = scheduler(f"Euler {spacing}", noise, steps, device, family)
        ancestral = scheduler(solver, noise, steps, device)
        ancestral.sigmas, ancestral.timesteps = placed.sigmas, placed.timesteps
        return ancestral
    # From the last time evenly down to the first, so that unit noise is where it belongs.
    even = {"timestep_spacing": "trailing" if zero_terminal(noise) else "linspace"}
    places = "timestep_spacing" in inspect.signature(made.__init__).parameters
    if solver == "DDIM" and zero_terminal(noise):  # its first time must be the last of all, where nothing is seen yet
        settings = settings | even
    found = made(**(even if places else {}) | settings | SPACINGS[spacing] | table(noise))
    if spacing == "AYS":
        levels = AYS.get(family, AysSchedules["StableDiffusionSigmas"])
        found._convert_to_karras = lambda in_sigmas, num_inference_steps: between(levels, num_inference_steps)
    if made is LCMScheduler and steps > found.config.original_inference_steps:
        most = found.config.original_inference_steps
        raise TetradError("E3203", f"LCM goes at most {most} steps, not {steps}; 4 to 8 are usual")
    found.set_timesteps(steps, device=device)
    return found


def zero_terminal(noise: DDPM) -> bool:
    return bool(noise.alphas_cumprod[-1] < 10 * SMALLEST)


def table(noise: DDPM) -> dict[str, object]:
    """The noise table and the network's convention as diffusers' schedulers want them."""
    a = noise.alphas_cumprod.double().clamp(min=SMALLEST)
    betas = 1 - a / torch.cat([torch.ones(1, dtype=torch.float64), a[:-1]])
    return {
        "num_train_timesteps": len(a),
        "trained_betas": betas.float().numpy(),
        "prediction_type": {"epsilon": "epsilon", "v": "v_prediction"}[noise.prediction],
    }


def between(levels: Sequence[float], steps: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Noise levels for any number of steps, on a line through the logarithms of those that were found best for ten."""
    best = np.log([*levels[:-1], LAST_AYS])
    return np.exp(np.interp(np.linspace(0, 1, steps + 1), np.linspace(0, 1, len(best)), best))[:-1]


@dataclass(frozen=True)
class Canvas:
    """What is drawn over: clean latents (B, C, h, w), how far from them, and where, (B, 1, h, w) in 0…1."""

    latents: Tensor
    strength: float
    mask: Tensor | None = None


def steps_drawn(steps: int, strength: float) -> int:
    """How many of the steps are gone over a canvas, diffusers' way."""
    return min(int(steps * strength), steps)


def sample(
    solver: Any, predict: Predict, eps: Tensor, steps: int, rng: list[Generator], canvas: Canvas | None = None
) -> Iterator[Tensor]:
    """Latents (B, C, h, w) after each call of the network, from unit noise eps; `rng` is a generator a picture.

    Over a canvas the last `strength` of the steps is gone, from its latents with noise for that step; what the mask
    leaves out is put back, with noise for the next step, after each. Strength 0 is the canvas itself.
    """
    times, z = solver.timesteps, eps * solver.init_noise_sigma
    extra = {"generator": rng} if "generator" in inspect.signature(solver.step).parameters else {}
    drawn = steps
    if canvas is not None:
        drawn = steps_drawn(steps, canvas.strength)
    begin = (steps - drawn) * solver.order
    if hasattr(solver, "set_begin_index"):  # looked for by its time, the first of several at one time is not found
        solver.set_begin_index(begin)
    if canvas is not None:
        times = times[begin:]
        z = solver.add_noise(canvas.latents, eps, times[:1].repeat(len(eps))) if drawn else canvas.latents
        yield z
    for call, t in enumerate(times):
        seen = solver.scale_model_input(z, t)
        # Solvers of second order call the network twice a step, once on the last.
        output = predict(seen, t.repeat(len(z)), 1 + call * drawn // len(times))
        z = solver.step(output, t, z, **extra).prev_sample
        if canvas is not None and canvas.mask is not None:
            kept = canvas.latents
            if call + 1 < len(times):
                kept = solver.add_noise(kept, eps, times[call + 1 : call + 2].repeat(len(eps)))
            z = kept + canvas.mask * (z - kept)
        yield z
