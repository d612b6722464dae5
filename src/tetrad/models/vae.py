"""The autoencoder between pictures and latents."""

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor


@dataclass(frozen=True)
class Vae:
    """diffusers' AutoencoderKL with the scale that makes its latents about unit size.  Always float32."""

    network: AutoencoderKL
    scale: float

    @property
    def factor(self) -> int:
        """Pixels per latent, on each side."""
        return int(2 ** (len(self.network.config["block_out_channels"]) - 1))

    def encode(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std of the scaled latents (B, 4, h, w) of pictures (B, 3, 8h, 8w) in 0…1."""
        with torch.no_grad():
            posterior = self.network.encode(2 * pictures.to(self.network.device) - 1).latent_dist
        return self.scale * posterior.mean, self.scale * posterior.std

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (B, 3, 8h, 8w) in 0…1 of scaled latents (B, 4, h, w)."""
        with torch.no_grad():
            pictures: Tensor = self.network.decode(latents.float() / self.scale).sample
        return (pictures / 2 + 0.5).clamp(0, 1)
