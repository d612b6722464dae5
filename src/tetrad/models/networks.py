"""The network classes of diffusers and transformers: importing them takes seconds, so only building a network does it.

The imports create half a million objects that all stay. Looking for garbage among them took a tenth of the time of a
short command, so Python does not look until they are imported, and never looks at them again.
"""

import gc

was_enabled = gc.isenabled()
gc.disable()
try:
    from diffusers import AutoencoderKL, ModelMixin, UNet2DConditionModel
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
finally:
    gc.freeze()
    if was_enabled:
        gc.enable()

__all__ = [
    "AutoencoderKL",
    "CLIPTextConfig",
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "DiagonalGaussianDistribution",
    "ModelMixin",
    "UNet2DConditionModel",
]
