"""Stable Diffusion XL: two text encoders, a pooled text embedding, and micro-conditioning on image size and crop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tetrad.formats.ldm import SingleFileLayout
from tetrad.models.sd import ReleasedVariant, StableDiffusion
from tetrad.models.text_encoder_spec import TextEncoderSpec

if TYPE_CHECKING:
    from torch import Tensor

    from tetrad.models.base import Conditioning


class StableDiffusionXL(StableDiffusion):
    """CLIP-L and OpenCLIP-bigG, from the layer before the last, without final norm.  [Podell et al. 2023]"""

    family = "sdxl"
    family_title = "Stable Diffusion XL"
    signature: ClassVar[tuple[str, ...]] = ("conditioner.embedders.", "model.diffusion_model.label_emb.")
    single_file = SingleFileLayout(
        "Stable Diffusion XL",
        clip={"conditioner.embedders.0.transformer.text_model": "text_encoder"},
        openclip={"conditioner.embedders.1.model": "text_encoder_2.text_model"},
        has_micro_conditioning=True,
    )
    text_width = 2048
    steps_table = "StableDiffusionXLSigmas"
    text_encoder_specs = (
        TextEncoderSpec("text_encoder", "quick_gelu", default_clip_skip=2, applies_final_norm=False),
        TextEncoderSpec(
            "text_encoder_2",
            "gelu",
            has_projection=True,
            pad_token_id=0,
            default_clip_skip=2,
            applies_final_norm=False,
            released_size=(1280, 32),
        ),
    )
    released_unet: ClassVar[dict[str, Any]] = {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    default_prediction = "epsilon"
    metadata_names: ClassVar[tuple[str, ...]] = ("sdxl", "stable-diffusion-xl")
    epsilon_variant = v_variant = ReleasedVariant(1024, "sdxl_base_v1-0", "stable-diffusion-xl-v1-base")
    scaling_factor = 0.13025
    default_config: ClassVar[dict[str, Any]] = StableDiffusion.default_config | {"unet.head_width": 64}
    zeros_for_empty_prompt = True

    def predict(self, z_t: Tensor, t: Tensor, c: Conditioning) -> Tensor:
        micro_conditioning = (
            self.make_uncropped_conditioning(z_t)
            if c.micro_conditioning is None
            else c.micro_conditioning.to(z_t.device)
        )
        added_conditions = {"text_embeds": c.pooled, "time_ids": micro_conditioning}
        output: Tensor = self.unet(z_t, t, c.hidden_states, added_cond_kwargs=added_conditions, return_dict=False)[0]
        return output

    def make_uncropped_conditioning(self, z_t: Tensor) -> Tensor:
        """Micro-conditioning (B, 6) for uncropped images of the latents' own size."""
        import torch

        height, width = (side * self.vae.downsampling_factor for side in z_t.shape[-2:])
        micro_conditioning = torch.tensor([height, width, 0, 0, height, width], device=z_t.device, dtype=torch.float32)
        return micro_conditioning.expand(len(z_t), 6)
