"""Models with the layout of Stable Diffusion 1 and random weights: one in full size, one narrower for CPUs."""

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from tetrad.formats import ldm, weight_files
from tetrad.weights import Weights

TEXT_WIDTH = 768


def write_model(path: Path) -> None:
    """A checkpoint for CPUs: 137 M parameters in the U-Net, a text encoder with two layers, a narrow VAE."""
    save_model(path, (128, 256, 512, 512), 2, (32, 32, 32, 32), torch.float32, 256)


def write_full_model(path: Path) -> None:
    """A checkpoint as large as Stable Diffusion 1, 2.1 GB: 860 M parameters in the U-Net."""
    save_model(path, (320, 640, 1280, 1280), 12, (128, 256, 512, 512), torch.float16, 512)


def save_model(
    path: Path,
    widths: Sequence[int],
    text_layers: int,
    vae_widths: Sequence[int],
    dtype: torch.dtype,
    resolution: int,
) -> None:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(block_out_channels=tuple(widths), cross_attention_dim=TEXT_WIDTH)
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=text_layers,
            num_attention_heads=12,
        )
    )
    vae = AutoencoderKL(
        block_out_channels=tuple(vae_widths),
        layers_per_block=2,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    )
    parts = {"unet": unet, "text_encoder": text, "vae": vae}
    tensors = {
        f"{part}.{name}": value.to(dtype) for part, net in parts.items() for name, value in net.state_dict().items()
    }
    weight_files.write_safetensors(
        path, ldm.encode(Weights("checkpoint", tensors)), {"modelspec.resolution": f"{resolution}x{resolution}"}
    )
