"""Classifier-free guidance and its rescale, as a request asks for them."""

import tiny
import torch
from torch import Tensor

from tetrad.diffusion.randomness import generator
from tetrad.generation.generate import GuidedDenoiser
from tetrad.generation.request import Request


def guided_output(**settings: float) -> Tensor:
    model = tiny.build_model(is_shallow=True)
    z_t = torch.randn(1, 4, 8, 8, generator=generator(0, 0, "z"))
    with torch.no_grad():
        output: Tensor = GuidedDenoiser(model, [Request("a cat", steps=4, **settings)], 4)(z_t, torch.tensor([500]), 1)
    return output


def test_guidance_rescale_restores_the_standard_deviation_of_the_prompts_own_output() -> None:
    """Lin et al. 2023, eq. 15–16: all of it at 1, half of it at 0.5."""
    conditional, guided = guided_output(cfg_scale=1.0), guided_output(cfg_scale=7.0)
    rescaled = guided * (conditional.std() / guided.std())
    assert not torch.allclose(guided, rescaled, rtol=1e-2)
    torch.testing.assert_close(guided_output(cfg_scale=7.0, cfg_rescale=1.0), rescaled, rtol=1e-4, atol=1e-5)
    half = guided_output(cfg_scale=7.0, cfg_rescale=0.5)
    torch.testing.assert_close(half, (rescaled + guided) / 2, rtol=1e-4, atol=1e-5)
