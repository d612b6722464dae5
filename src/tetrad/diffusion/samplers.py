"""Samplers under A1111's names, on diffusers' schedulers."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from tetrad.diffusion.flow import RectifiedFlow
from tetrad.diffusion.noise import DDPM, MIN_ALPHA_CUMPROD, Noise
from tetrad.errors import TetradError
from tetrad.lazy import pause_garbage_collection
from tetrad.locales import _
from tetrad.settings.samplers import SAMPLERS, resolve_sampler_name

with pause_garbage_collection():
    from diffusers import (
        DDIMScheduler,
        DPMSolverMultistepScheduler,
        DPMSolverSinglestepScheduler,
        EulerAncestralDiscreteScheduler,
        EulerDiscreteScheduler,
        FlowMatchEulerDiscreteScheduler,
        HeunDiscreteScheduler,
        KDPM2AncestralDiscreteScheduler,
        KDPM2DiscreteScheduler,
        LCMScheduler,
        UniPCMultistepScheduler,
    )
    from diffusers.schedulers import AysSchedules

Predict = Callable[[Tensor, Tensor, int], Tensor]  # noisy latents (B, C, h, w), times (B,), the step from 1


class _DPMSolver2SAncestral(KDPM2AncestralDiscreteScheduler):  # type: ignore[misc]
    """DPM++ 2S a, which diffusers does not have: `DPM2 a` with another second half of the step.

    From x at σ to σ_down, with the clean latents D₂ predicted at the middle: σ_down/σ · x + (1 - σ_down/σ) · D₂.
    [Lu et al. 2022, DPM-Solver++, algorithm 1; k-diffusion's `sample_dpmpp_2s_ancestral`]
    """

    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor, generator: Any = None) -> Any:
        if self.state_in_first_order:
            return super().step(model_output, timestep, sample, generator=generator)
        index, start = self.step_index - 1, self.sample
        sigma, middle, down = self.sigmas[index], self.sigmas_interpol[index], self.sigmas_down[index]
        output = super().step(model_output, timestep, sample, generator=generator)
        denoised = output.pred_original_sample
        dpm2_derivative = (sample - denoised) / middle
        output.prev_sample += ((start - denoised) / sigma - dpm2_derivative) * (down - sigma)
        return output


_SDE_CONFIG: dict[str, object] = {"algorithm_type": "sde-dpmsolver++"}
# diffusers' DDIM steps back by T // steps, which is right for this spacing only.
_LEADING_CONFIG: dict[str, object] = {"timestep_spacing": "leading", "steps_offset": 1}
SOLVERS: dict[str, tuple[Any, dict[str, object]]] = {
    "DPM++ 2M": (DPMSolverMultistepScheduler, {}),
    "DPM++ 2M SDE": (DPMSolverMultistepScheduler, _SDE_CONFIG),
    "DPM++ 3M SDE": (DPMSolverMultistepScheduler, _SDE_CONFIG | {"solver_order": 3}),
    # A1111 calls the network twice a step and takes its noise from torchsde. diffusers calls it once a step and takes
    # the noise from each image's generator.
    "DPM++ SDE": (DPMSolverSinglestepScheduler, _SDE_CONFIG | {"lower_order_final": True}),
    "DPM++ 2S a": (_DPMSolver2SAncestral, {}),
    "Euler": (EulerDiscreteScheduler, {}),
    "Euler a": (EulerAncestralDiscreteScheduler, {}),
    "Heun": (HeunDiscreteScheduler, {}),
    "DPM2": (KDPM2DiscreteScheduler, {}),
    "DPM2 a": (KDPM2AncestralDiscreteScheduler, {}),
    "UniPC": (UniPCMultistepScheduler, {}),
    "DDIM": (DDIMScheduler, _LEADING_CONFIG | {"clip_sample": False, "set_alpha_to_one": False}),
    "LCM": (LCMScheduler, _LEADING_CONFIG | {"clip_sample": False, "set_alpha_to_one": True}),
}
_SIGMA_SPACINGS: dict[str, dict[str, object]] = {
    "": {},
    "Karras": {"use_karras_sigmas": True},  # [Karras et al. 2022, eq. 5]
    "Exponential": {"use_exponential_sigmas": True},
    "AYS": {"use_karras_sigmas": True},  # Align Your Steps; its sigmas replace Karras'  [Sabour et al. 2024]
}
_LAST_AYS_SIGMA = 0.029  # the last published sigma; diffusers' table has the final zero in its place


def create_scheduler(
    name: str, noise: Noise, steps: int, device: torch.device, steps_table: str = "StableDiffusionSigmas"
) -> Any:
    """A diffusers scheduler for this noise with its timesteps set; `steps_table` is the table of Align Your Steps.

    E3203 where the sampler cannot take this many steps, E3207 where it does not exist for such models.
    """
    return _SCHEDULER_FACTORIES[type(noise)](name, noise, steps, device, steps_table)


def _create_flow_scheduler(name: str, noise: RectifiedFlow, steps: int, device: torch.device, steps_table: str) -> Any:
    """A scheduler for rectified flow."""
    solver, _spacing = SAMPLERS[resolve_sampler_name(name)]
    if solver == "Euler":
        euler = _FlowEuler(shift=noise.shift)
        euler.set_timesteps(steps, device=device)
        return euler
    if solver not in _FLOW_SOLVERS:
        raise TetradError(
            "E3207",
            _("the sampler {name} does not work with models that predict flow; use one of {samplers}"),
            name=name,
            samplers=", ".join(("Euler", *_FLOW_SOLVERS)),
        )
    scheduler_class, settings = SOLVERS[solver]
    instance = scheduler_class(
        **settings, use_flow_sigmas=True, flow_shift=noise.shift, prediction_type="flow_prediction"
    )
    instance.set_timesteps(steps, device=device)
    return instance


class _FlowEuler(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
    """diffusers' Euler scheduler for flow, with the methods of its other schedulers."""

    init_noise_sigma = 1.0

    def scale_model_input(self, z: Tensor, t: Tensor) -> Tensor:
        return z

    def add_noise(self, z: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        noisy: Tensor = self.scale_noise(z, t, eps)
        return noisy


def _create_ddpm_scheduler(
    name: str, noise: DDPM, steps: int, device: torch.device, steps_table: str = "StableDiffusionSigmas"
) -> Any:
    """A scheduler for a DDPM noise schedule.  E3203 where the sampler cannot take this many steps."""
    solver, spacing = SAMPLERS[resolve_sampler_name(name)]
    scheduler_class, settings = SOLVERS[solver]
    if scheduler_class is EulerAncestralDiscreteScheduler and spacing:
        # diffusers' Euler a has one spacing only, but works with any sigmas that are set.
        euler = _create_ddpm_scheduler(f"Euler {spacing}", noise, steps, device, steps_table)
        ancestral = _create_ddpm_scheduler(solver, noise, steps, device)
        ancestral.sigmas, ancestral.timesteps = euler.sigmas, euler.timesteps
        return ancestral
    # Timesteps must start at the last time, since the initial latents are pure noise.
    even_spacing = {"timestep_spacing": "trailing" if noise.is_zero_terminal else "linspace"}
    accepts_spacing = "timestep_spacing" in inspect.signature(scheduler_class.__init__).parameters
    if solver == "DDIM" and noise.is_zero_terminal:  # it must start at the last time, which is pure noise
        settings = settings | even_spacing
    instance = scheduler_class(
        **(even_spacing if accepts_spacing else {}) | settings | _SIGMA_SPACINGS[spacing] | _make_noise_config(noise)
    )
    if spacing == "AYS":
        sigmas = AysSchedules[steps_table]
        instance._convert_to_karras = lambda in_sigmas, num_inference_steps: _interpolate_sigmas(
            sigmas, num_inference_steps
        )
    if scheduler_class is LCMScheduler and steps > instance.config.original_inference_steps:
        max_steps = instance.config.original_inference_steps
        raise TetradError(
            "E3203",
            _("the sampler LCM takes at most {highest} steps, not {steps}; 4 to 8 are typical"),
            highest=max_steps,
            steps=steps,
        )
    instance.set_timesteps(steps, device=device)
    return instance


_FLOW_SOLVERS = ("DPM++ 2M", "DPM++ 2M SDE", "UniPC")
_SCHEDULER_FACTORIES: dict[type, Any] = {DDPM: _create_ddpm_scheduler, RectifiedFlow: _create_flow_scheduler}


def _make_noise_config(noise: DDPM) -> dict[str, object]:
    """The noise schedule and the prediction type as options of diffusers' schedulers."""
    a = noise.alphas_cumprod.double().clamp(min=MIN_ALPHA_CUMPROD)
    betas = 1 - a / torch.cat([torch.ones(1, dtype=torch.float64), a[:-1]])
    return {
        "num_train_timesteps": len(a),
        "trained_betas": betas.float().numpy(),
        "prediction_type": {"epsilon": "epsilon", "v": "v_prediction"}[noise.prediction],
    }


def _interpolate_sigmas(sigmas: Sequence[float], steps: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Sigmas for any number of steps, interpolated linearly in log space from the ten published ones."""
    log_sigmas = np.log([*sigmas[:-1], _LAST_AYS_SIGMA])
    return np.exp(np.interp(np.linspace(0, 1, steps + 1), np.linspace(0, 1, len(log_sigmas)), log_sigmas))[:-1]


@dataclass(frozen=True)
class InitLatents:
    """The start of img2img: clean latents (B, C, h, w), the number of steps, and a mask (B, 1, h, w) in 0…1."""

    latents: Tensor
    steps: int
    mask: Tensor | None = None


def count_img2img_steps(steps: int, strength: float) -> int:
    """The number of steps that img2img runs, as in diffusers."""
    return min(int(steps * strength), steps)


def sample(
    solver: Any, predict: Predict, eps: Tensor, steps: int, rng: list[Generator], init: InitLatents | None = None
) -> Iterator[Tensor]:
    """Latents (B, C, h, w) after each call of the network, from unit noise eps; `rng` has a generator for each image.

    With `init` only its number of steps is run, the last ones, from its latents with noise for the first of them.
    Outside the mask the latents are replaced by those of `init`, with noise for the next step, after each call.
    No steps give the latents of `init`.
    """
    times, z = solver.timesteps, eps * solver.init_noise_sigma
    step_kwargs = {"generator": rng} if "generator" in inspect.signature(solver.step).parameters else {}
    active_steps = steps if init is None else init.steps
    begin = (steps - active_steps) * solver.order
    if hasattr(solver, "set_begin_index"):  # else it searches by time, and misses the first of equal times
        solver.set_begin_index(begin)
    if init is not None:
        times = times[begin:]
        z = solver.add_noise(init.latents, eps, times[:1].repeat(len(eps))) if active_steps else init.latents
        yield z
    for call, t in enumerate(times):
        model_input = solver.scale_model_input(z, t)
        # Second-order solvers call the network twice a step, but once in the last one.
        output = predict(model_input, t.repeat(len(z)), 1 + call * active_steps // len(times))
        z = solver.step(output, t, z, **step_kwargs).prev_sample
        if init is not None and init.mask is not None:
            unmasked = init.latents
            if call + 1 < len(times):
                unmasked = solver.add_noise(unmasked, eps, times[call + 1 : call + 2].repeat(len(eps)))
            z = unmasked + init.mask * (z - unmasked)
        yield z
