"""The network classes of diffusers and transformers.  Importing them takes seconds, so only building a network does."""

from tetrad.lazy import pause_garbage_collection

with pause_garbage_collection():
    from diffusers import AutoencoderKL, ModelMixin, UNet2DConditionModel
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

__all__ = [
    "AutoencoderKL",
    "CLIPTextConfig",
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "DiagonalGaussianDistribution",
    "ModelMixin",
    "UNet2DConditionModel",
]
