"""Stable Diffusion XL: two text encoders side by side, a pooled text, the picture's size and crop."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import CLIPTextModelWithProjection

from tetrad.models.base import Conditioning
from tetrad.models.sd import Published, StableDiffusion, Tower


class StableDiffusionXL(StableDiffusion):
    """CLIP-L and OpenCLIP-bigG are read one layer before their last, without its norm.  [Podell et al. 2023]"""

    family = "sdxl"
    title = "Stable Diffusion XL"
    towers = (
        Tower("text_encoder", "quick_gelu", skip=2, normed=False),
        Tower("text_encoder_2", "gelu", CLIPTextModelWithProjection, pad=0, skip=2, normed=False),
    )
    usual = "epsilon"
    epsilon = v = Published(1024, "sdxl_base_v1-0", "stable-diffusion-xl-v1-base")
    scale = 0.13025
    architecture: ClassVar[dict[str, Any]] = StableDiffusion.architecture | {"unet.head_width": 64}
    empty_is_zero = True

    def predict(self, z_t: Tensor, t: Tensor, c: Conditioning) -> Tensor:
        framing = self.uncropped(z_t) if c.framing is None else c.framing.to(z_t.device)
        added = {"text_embeds": c.pooled, "time_ids": framing}
        output: Tensor = self.unet(z_t, t, c.tokens, added_cond_kwargs=added, return_dict=False)[0]
        return output

    def uncropped(self, z_t: Tensor) -> Tensor:
        """The framing (B, 6) of whole pictures of the latents' own size."""
        height, width = (side * self.vae.factor for side in z_t.shape[-2:])
        framing = torch.tensor([height, width, 0, 0, height, width], device=z_t.device, dtype=torch.float32)
        return framing.expand(len(z_t), 6)
