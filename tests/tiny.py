"""A Stable Diffusion 1 with its real layout and random numbers, narrow enough to run in a test."""

import json
from functools import cache

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from tetrad.models.base import freeze
from tetrad.models.sd import StableDiffusion1
from tetrad.weights import Weights

WIDTHS = (32, 64, 64, 64)
ARCHITECTURE = {
    "unet.attention_head_dim": 4,
    "text_encoder.head_width": 16,
    "vae.norm_num_groups": 8,
    "unet.norm_num_groups": 16,
}


@cache
def weights(layers: int = 2, seed: int = 0) -> Weights:
    """Canonical weights of all three networks, four levels each, as the real one has."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        block_out_channels=WIDTHS, cross_attention_dim=32, attention_head_dim=4, norm_num_groups=16
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=layers,
            num_attention_heads=2,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
        )
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        layers_per_block=2,
        norm_num_groups=8,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    )
    parts = {"unet": unet, "text_encoder": text, "vae": vae}
    tensors = {f"{part}.{key}": value for part, net in parts.items() for key, value in net.state_dict().items()}
    metadata = {"tetrad.architecture": json.dumps(ARCHITECTURE), "modelspec.resolution": "64x64"}
    return Weights("checkpoint", tensors, metadata)


def model(layers: int = 2) -> StableDiffusion1:
    """A fresh model every time; its tensors are copies."""
    whole = weights(layers)
    copied = Weights("checkpoint", {name: tensor.clone() for name, tensor in whole.tensors.items()}, whole.metadata)
    built = StableDiffusion1.build(copied, "tiny")
    freeze(built)
    return built
