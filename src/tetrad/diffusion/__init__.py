"""The mathematics of diffusion: tensors in, tensors out; no model, no file, no recipe.

`noise` has the path from latents to noise, DDPM's noise schedule and its prediction targets; `flow` the same for
rectified flow; `objective` the noise, weights and errors of the training loss; `timesteps` which times are drawn for
it; `guidance` classifier-free guidance; `samplers` A1111's samplers, on diffusers' schedulers; `randomness`
reproducible random generators.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "guidance": ["apply_guidance", "rescale_guidance"],
        "noise": [
            "DDPM",
            "Noise",
            "PREDICTION_NAMES",
            "Prediction",
            "corrupt",
            "rescale_zero_terminal_snr",
            "scaled_linear",
        ],
        "objective": ["Objective", "build_objective"],
        "randomness": ["derive_seed", "generator", "stratified_quantiles"],
        "samplers": ["InitLatents", "count_img2img_steps", "create_scheduler", "sample"],
        "timesteps": ["Timesteps", "build_timesteps"],
    },
)
