"""A random model with Stable Diffusion 1's layout, wide enough that arithmetic dominates."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from tetrad.formats import files, ldm
from tetrad.weights import Weights

WIDTHS = (128, 256, 512, 512)
TEXT_WIDTH = 768


def write(path: Path) -> None:
    """A single-file checkpoint: 137 M parameters in the U-Net, a text encoder two layers deep, a narrow VAE."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(block_out_channels=WIDTHS, cross_attention_dim=TEXT_WIDTH)
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=TEXT_WIDTH, intermediate_size=4 * TEXT_WIDTH, num_hidden_layers=2, num_attention_heads=12
        )
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=2,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    )
    parts = {"unet": unet, "text_encoder": text, "vae": vae}
    tensors = {f"{part}.{name}": value for part, net in parts.items() for name, value in net.state_dict().items()}
    files.write(path, ldm.encode(Weights("checkpoint", tensors)), {"modelspec.resolution": "256x256"})
