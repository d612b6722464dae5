"""Models of every family with their real layout and random numbers, narrow enough to run in a test."""

import json
from functools import cache

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tetrad.models import FAMILIES
from tetrad.models.base import Model, freeze
from tetrad.weights import Weights

WIDTHS = (32, 64, 64, 64)
ARCHITECTURE = {"unet.norm_num_groups": 16, "vae.norm_num_groups": 8, "text_encoder.head_width": 16}
XL = {
    "block_out_channels": (32, 64, 64),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 1, 2),
    "cross_attention_dim": 32 + 48,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 48 + 6 * 8,
}


def unet(**settings: object) -> UNet2DConditionModel:
    usual = {"block_out_channels": WIDTHS, "cross_attention_dim": 32, "attention_head_dim": 4, "norm_num_groups": 16}
    return UNet2DConditionModel(**usual | settings)


def text(kind: type[nn.Module] = CLIPTextModel, layers: int = 2, act: str = "quick_gelu", **settings: int) -> nn.Module:
    sizes = {"vocab_size": 49408, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    sizes |= {"max_position_embeddings": 77, "num_hidden_layers": layers} | settings
    return kind(CLIPTextConfig(hidden_act=act, **sizes))


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        layers_per_block=2,
        norm_num_groups=8,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    )


def networks(family: str, layers: int) -> dict[str, nn.Module]:
    """A family's networks, four levels as the real ones have (XL three)."""
    if family == "sd1":
        return {"unet": unet(), "text_encoder": text(layers=layers), "vae": vae()}
    if family == "sd2":
        return {
            "unet": unet(use_linear_projection=True),
            "text_encoder": text(layers=layers, act="gelu"),
            "vae": vae(),
        }
    wider = {"hidden_size": 48, "num_attention_heads": 3, "projection_dim": 48}
    second = text(CLIPTextModelWithProjection, layers=layers, act="gelu", **wider)
    return {"unet": unet(**XL), "text_encoder": text(layers=layers), "text_encoder_2": second, "vae": vae()}


@cache
def weights(layers: int = 2, seed: int = 0, family: str = "sd1") -> Weights:
    """Canonical weights of all of a family's networks."""
    torch.manual_seed(seed)
    parts = networks(family, layers)
    tensors = {f"{part}.{key}": value for part, net in parts.items() for key, value in net.state_dict().items()}
    about = ARCHITECTURE | {"unet.attention_head_dim": 4, "text_encoder_2.head_width": 16}
    metadata = {"tetrad.architecture": json.dumps(about), "modelspec.resolution": "64x64"}
    metadata["modelspec.prediction_type"] = "v" if family == "sd2" else "epsilon"
    return Weights("checkpoint", tensors, metadata)


def model(layers: int = 2, family: str = "sd1") -> Model:
    """A fresh model every time; its tensors are copies."""
    whole = weights(layers, family=family)
    copied = Weights("checkpoint", {name: tensor.clone() for name, tensor in whole.tensors.items()}, whole.metadata)
    built = FAMILIES[family].build(copied, "tiny")
    freeze(built)
    return built


def narrow(family: str) -> Model:
    """A model in which what no tensor tells (groups, heads) is as in the real one, so that any form can hold it."""
    torch.manual_seed(1)
    as_real = {"cross_attention_dim": 64, "norm_num_groups": 32}
    second = {
        "attention_head_dim": (1, 1, 2, 2),
        "block_out_channels": (64, 64, 128, 128),
        "use_linear_projection": True,
    }
    xl = XL | {"attention_head_dim": (1, 2, 2), "block_out_channels": (64, 128, 128), "cross_attention_dim": 192}
    xl |= {"projection_class_embeddings_input_dim": 128 + 6 * 8}
    towers = {"hidden_size": 64, "num_attention_heads": 1}
    wider = {"hidden_size": 128, "num_attention_heads": 2, "projection_dim": 128}
    parts = {
        "sd1": {"unet": unet(**as_real, attention_head_dim=8), "text_encoder": text(**towers)},
        "sd2": {"unet": unet(**as_real | second), "text_encoder": text(layers=3, act="gelu", **towers)},
        "sdxl": {
            "unet": unet(**as_real | xl),
            "text_encoder": text(**towers),
            "text_encoder_2": text(CLIPTextModelWithProjection, act="gelu", **wider),
        },
    }[family]
    parts["vae"] = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=2,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    )
    tensors = {f"{part}.{key}": value for part, net in parts.items() for key, value in net.state_dict().items()}
    built = FAMILIES[family].build(Weights("checkpoint", tensors, {"modelspec.resolution": "128x128"}), "narrow")
    freeze(built)
    return built
