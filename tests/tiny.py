"""Models of every family with their real layout and random weights, narrow enough to run in a test."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tetrad import library
from tetrad.methods import MethodSettings
from tetrad.methods.base import Adapter, behavior_of
from tetrad.models import FAMILIES
from tetrad.models.base import Model, freeze
from tetrad.models.copying import copy_model
from tetrad.weights import Weights

WIDTHS = (32, 64, 64, 64)
ARCHITECTURE = {"unet.norm_num_groups": 16, "vae.norm_num_groups": 8, "text_encoder.head_width": 16}
XL_UNET = {
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
# The fewest blocks that have every kind of layer: steps and files of such a model cost a third.
SHALLOW_UNET = {
    "block_out_channels": WIDTHS[:2],
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
}


def build_unet(**settings: object) -> UNet2DConditionModel:
    defaults = {"block_out_channels": WIDTHS, "cross_attention_dim": 32, "attention_head_dim": 4, "norm_num_groups": 16}
    return UNet2DConditionModel(**defaults | settings)


def build_text_encoder(
    encoder_class: type[nn.Module] = CLIPTextModel, layers: int = 2, activation: str = "quick_gelu", **settings: int
) -> nn.Module:
    configuration = {"vocab_size": 49408, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    configuration |= {"max_position_embeddings": 77, "num_hidden_layers": layers} | settings
    return encoder_class(CLIPTextConfig(hidden_act=activation, **configuration))


def build_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        layers_per_block=2,
        norm_num_groups=8,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    )


def build_networks(family: str, layers: int, is_shallow: bool = False) -> dict[str, nn.Module]:
    """A family's networks with as many levels as the real ones (four, or three for XL), or a shallow U-Net."""
    depth = SHALLOW_UNET if is_shallow else {}
    if family == "sd1":
        return {"unet": build_unet(**depth), "text_encoder": build_text_encoder(layers=layers), "vae": build_vae()}
    if family == "sd2":
        return {
            "unet": build_unet(**depth, use_linear_projection=True),
            "text_encoder": build_text_encoder(layers=layers, activation="gelu"),
            "vae": build_vae(),
        }
    assert not is_shallow, "nobody needs a shallow XL"
    wider = {"hidden_size": 48, "num_attention_heads": 3, "projection_dim": 48}
    second_text_encoder = build_text_encoder(CLIPTextModelWithProjection, layers=layers, activation="gelu", **wider)
    return {
        "unet": build_unet(**XL_UNET),
        "text_encoder": build_text_encoder(layers=layers),
        "text_encoder_2": second_text_encoder,
        "vae": build_vae(),
    }


@cache
def build_weights(layers: int = 2, seed: int = 0, family: str = "sd1", is_shallow: bool = False) -> Weights:
    """Canonical weights of all of a family's networks."""
    torch.manual_seed(seed)
    parts = build_networks(family, layers, is_shallow)
    tensors = {f"{part}.{key}": value for part, net in parts.items() for key, value in net.state_dict().items()}
    architecture = ARCHITECTURE | {"unet.attention_head_dim": 4, "text_encoder_2.head_width": 16}
    metadata = {"tetrad.architecture": json.dumps(architecture), "modelspec.resolution": "64x64"}
    metadata["modelspec.prediction_type"] = "v" if family == "sd2" else "epsilon"
    return Weights("checkpoint", tensors, metadata)


@cache
def build_template(layers: int, family: str, is_shallow: bool) -> Model:
    """The model that `build_model` copies, which takes a fraction of the time."""
    built = FAMILIES[family].build(build_weights(layers, family=family, is_shallow=is_shallow), "tiny")
    freeze(built)
    return built


def build_model(layers: int = 2, family: str = "sd1", is_shallow: bool = False) -> Model:
    """A new model for each call; its tensors are copies."""
    return copy_model(build_template(layers, family, is_shallow), torch.clone)


def build_exportable_model(family: str) -> Model:
    """A model with the real settings where tensors cannot show them (groups, heads), so any format can hold it."""
    torch.manual_seed(1)
    unet_settings = {"cross_attention_dim": 64, "norm_num_groups": 32}
    sd2_settings = {
        "attention_head_dim": (1, 1, 2, 2),
        "block_out_channels": (64, 64, 128, 128),
        "use_linear_projection": True,
    }
    sdxl_settings = XL_UNET | {
        "attention_head_dim": (1, 2, 2),
        "block_out_channels": (64, 128, 128),
        "cross_attention_dim": 192,
    }
    sdxl_settings |= {"projection_class_embeddings_input_dim": 128 + 6 * 8}
    text_settings = {"hidden_size": 64, "num_attention_heads": 1}
    second_text_settings = {"hidden_size": 128, "num_attention_heads": 2, "projection_dim": 128}
    parts = {
        "sd1": {
            "unet": build_unet(**unet_settings, attention_head_dim=8),
            "text_encoder": build_text_encoder(**text_settings),
        },
        "sd2": {
            "unet": build_unet(**unet_settings | sd2_settings),
            "text_encoder": build_text_encoder(layers=3, activation="gelu", **text_settings),
        },
        "sdxl": {
            "unet": build_unet(**unet_settings | sdxl_settings),
            "text_encoder": build_text_encoder(**text_settings),
            "text_encoder_2": build_text_encoder(
                CLIPTextModelWithProjection, activation="gelu", **second_text_settings
            ),
        },
    }[family]
    parts["vae"] = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=2,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    )
    tensors = {f"{part}.{key}": value for part, net in parts.items() for key, value in net.state_dict().items()}
    metadata = {"modelspec.resolution": "128x128", "modelspec.prediction_type": "v" if family == "sd2" else "epsilon"}
    built = FAMILIES[family].build(Weights("checkpoint", tensors, metadata), "narrow")
    freeze(built)
    return built


def attach(settings: MethodSettings, model: Model, rng: torch.Generator, start: Weights | None = None) -> Adapter:
    """A method's adapter, new or continued from `start`."""
    return behavior_of(settings).attach(settings, model, rng, start)


def load(
    method: type[MethodSettings], model: Model, weights: Weights, strength: float | Mapping[str, float] = 1.0
) -> Adapter:
    """A trained adapter, loaded at a strength."""
    return behavior_of(method).load(model, weights, strength)


def parts(adapter: Adapter) -> dict[str, list[nn.Parameter]]:
    """An adapter's trainable parameters by part."""
    parameters: dict[str, list[nn.Parameter]] = {}
    for group in adapter.groups():
        parameters.setdefault(group.part, []).extend(group.parameters)
    return parameters


def assert_same_weights(model: Model, expected: Model) -> None:
    """Every tensor is equal to the last bit."""
    tensors, expected_tensors = model.weights().tensors, expected.weights().tensors
    assert tensors.keys() == expected_tensors.keys()
    assert all(torch.equal(tensors[name], expected_tensors[name]) for name in tensors)


def save_checkpoint(
    path: Path, model: Model, metadata: dict[str, str], precision: str = "fp16", format: str = "ldm"
) -> Path:
    """Save the whole model including its VAE: a single file under LDM's names, or a diffusers folder."""
    return library.save_weights(path, library.cast_weights(model.weights(), precision), model, metadata, format)


def save_shallow_checkpoint(path: Path, family: str = "sd1", seed: int = 0) -> Path:
    """Save a model that is cheap to train and to generate with, for tests of runs and commands."""
    weights = build_weights(seed=seed, family=family, is_shallow=True)
    return save_checkpoint(path, FAMILIES[family].build(weights, path.stem), weights.metadata)
