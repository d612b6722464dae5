"""The untrained built-in model: Stable Diffusion 1's layout, narrow, with random weights."""

import json
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel

from tetrad.models.sd import StableDiffusion1
from tetrad.weights import Weights

WIDTHS = (64, 96, 128, 128)
TEXT_WIDTH, TEXT_LAYERS, TEXT_NEURONS, HEAD_WIDTH, UNET_HEADS = 128, 12, 1024, 32, 2
PARTS = {"unet": "unet.safetensors", "text_encoder": "text.safetensors", "vae": "vae.safetensors"}
METADATA = {
    "tetrad.architecture": json.dumps(
        {"unet.attention_head_dim": UNET_HEADS, "text_encoder.head_width": HEAD_WIDTH, "vae.norm_num_groups": 8}
    ),
    "modelspec.sai_model_spec": "1.0.1",
    "modelspec.architecture": "stable-diffusion-v1",
    "modelspec.implementation": "diffusers",
    "modelspec.title": "Tetrad built-in",
    "modelspec.prediction_type": "v",
    "modelspec.resolution": "128x128",
    "modelspec.license": "Apache-2.0",
}


def new_text_encoder(seed: int) -> CLIPTextModel:
    """CLIP's text encoder, narrow, with random weights."""
    torch.manual_seed(seed)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=TEXT_WIDTH,
            intermediate_size=TEXT_NEURONS,
            num_hidden_layers=TEXT_LAYERS,
            num_attention_heads=TEXT_WIDTH // HEAD_WIDTH,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
        )
    )
    # As large as what the layers add, so that words stay distinguishable, trained or not. With CLIP's 0.02, after
    # 1,400 steps, words for similar colours had nearly equal encodings, and so had all untrained words.
    torch.nn.init.normal_(text.embeddings.token_embedding.weight, std=1.0)
    return text


def new_model(work: Path, seed: int) -> StableDiffusion1:
    """The model from the parts in the work folder; the U-Net has random weights if there is none yet."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        block_out_channels=WIDTHS, cross_attention_dim=TEXT_WIDTH, attention_head_dim=UNET_HEADS
    )
    tensors = {f"unet.{name}": tensor for name, tensor in unet.state_dict().items()}
    for part, file in PARTS.items():
        if part != "unet" or (work / file).exists():
            tensors |= {f"{part}.{name}": tensor.float() for name, tensor in load_file(work / file).items()}
    return StableDiffusion1.build(Weights("checkpoint", tensors, METADATA), "builtin")
