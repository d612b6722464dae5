"""The published layout of every family: tensor names, shapes and network configurations, without real weights."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tetrad.formats import ldm
from tetrad.library.identification import identify
from tetrad.methods import Lora
from tetrad.methods.lora.adapter import attach
from tetrad.models import FAMILIES
from tetrad.models.base import Model
from tetrad.models.sd import StableDiffusion
from tetrad.weights import Weights

VAE = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
VAE |= {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
XL_UNET = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SD2_UNET = {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True}


def build_text_encoder(
    width: int, layers: int, activation: str, network: type[nn.Module] = CLIPTextModel, **more: int
) -> nn.Module:
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": width // 64}
    tokens = {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407}
    return network(CLIPTextConfig(**sizes, **tokens, num_hidden_layers=layers, hidden_act=activation, **more))


PUBLISHED = {
    "sd1": {
        "unet": lambda: UNet2DConditionModel(cross_attention_dim=768),
        "text_encoder": lambda: build_text_encoder(768, 12, "quick_gelu"),
        "vae": lambda: AutoencoderKL(**VAE),
    },
    "sd2": {
        "unet": lambda: UNet2DConditionModel(**SD2_UNET),
        "text_encoder": lambda: build_text_encoder(1024, 23, "gelu"),
        "vae": lambda: AutoencoderKL(**VAE),
    },
    "sdxl": {
        "unet": lambda: UNet2DConditionModel(**XL_UNET),
        "text_encoder": lambda: build_text_encoder(768, 12, "quick_gelu"),
        "text_encoder_2": lambda: build_text_encoder(
            1280, 32, "gelu", CLIPTextModelWithProjection, projection_dim=1280
        ),
        "vae": lambda: AutoencoderKL(**VAE, scaling_factor=0.13025),
    },
}
UNET_TENSORS = {"sd1": 686, "sd2": 686, "sdxl": 1680}  # in the published files
LORA_LAYERS = {"sd1": (192, 72, 0), "sd2": (192, 138, 0), "sdxl": (722, 72, 192)}  # kohya's numbers by part
LOCON_LAYERS = {"sd1": (278, 72, 0), "sd2": (278, 138, 0), "sdxl": (788, 72, 192)}  # with convolutions


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def published(family: str) -> dict[str, nn.Module]:
    with torch.device("meta"):
        return {part: make() for part, make in PUBLISHED[family].items()}


@pytest.fixture(scope="module")
def numbered(published: dict[str, nn.Module]) -> Weights:
    """A tensor for each name, filled with its own number; expanded, so that it takes the memory of one element."""
    shapes = [(f"{p}.{key}", t.shape) for p, net in published.items() for key, t in net.state_dict().items()]
    return Weights("checkpoint", {name: torch.tensor(float(n)).expand(shape) for n, (name, shape) in enumerate(shapes)})


@pytest.fixture(scope="module")
def model(family: str, published: dict[str, nn.Module]) -> Model:
    """The model that we build from the published names and shapes alone."""
    tensors = {f"{p}.{key}": tensor for p, net in published.items() for key, tensor in net.state_dict().items()}
    model_class: type[StableDiffusion] = FAMILIES[family]  # type: ignore[assignment]
    return model_class.build(Weights("checkpoint", tensors, {"modelspec.prediction_type": "epsilon"}), "real")


def shapes_and_numbers(tensors: Mapping[str, Tensor]) -> dict[str, tuple[tuple[int, ...], float]]:
    """The shape of each tensor, and the number that it is filled with."""
    return {name: (tuple(tensor.shape), tensor[(0,) * tensor.ndim].item()) for name, tensor in tensors.items()}


def test_diffusers_converts_our_single_file_back(
    family: str, numbered: Weights, published: dict[str, nn.Module]
) -> None:
    file = ldm.encode(numbered, FAMILIES[family].single_file)
    assert sum(name.startswith("model.diffusion_model.") for name in file) == UNET_TENSORS[family]
    assert sum(name.startswith("first_stage_model.") for name in file) == 248
    assert identify(file) == family
    converted = {
        "unet": convert_ldm_unet_checkpoint(dict(file), dict(published["unet"].config)),
        "vae": convert_ldm_vae_checkpoint(dict(file), dict(published["vae"].config)),
    }
    for part, theirs in converted.items():
        assert shapes_and_numbers(theirs) == shapes_and_numbers(numbered.part(part))
    first, second = "cond_stage_model.model.", "conditioner.embedders.1.model."
    texts = {
        "sd1": {"text_encoder": lambda: convert_ldm_clip_checkpoint(dict(file))},
        "sd2": {"text_encoder": lambda: convert_open_clip_checkpoint(published["text_encoder"], dict(file), first)},
        "sdxl": {
            "text_encoder": lambda: convert_ldm_clip_checkpoint(dict(file)),
            "text_encoder_2": lambda: convert_open_clip_checkpoint(published["text_encoder_2"], dict(file), second),
        },
    }[family]
    for part, convert in texts.items():
        theirs = {name.removeprefix("text_model."): tensor for name, tensor in convert().items()}
        ours = {name.removeprefix("text_model."): tensor for name, tensor in numbered.part(part).items()}
        assert shapes_and_numbers(theirs) == shapes_and_numbers(ours)


def test_decoding_an_encoded_single_file_gives_the_published_layout(family: str, numbered: Weights) -> None:
    layout = FAMILIES[family].single_file
    decoded = ldm.decode(ldm.encode(numbered, layout), {}, layout)
    assert shapes_and_numbers(decoded.tensors) == shapes_and_numbers(numbered.tensors)


def test_configurations_inferred_from_shapes_are_the_published_ones(
    published: dict[str, nn.Module], model: Model
) -> None:
    for part, theirs in published.items():
        ours: Any = (model.parts() | {"vae": model.vae.network})[part]
        if part.startswith("text"):
            assert ours.config.to_dict() == theirs.config.to_dict()
        else:
            for key in {key for key in ours.config if not key.startswith("_")} - {"sample_size"}:
                assert tuple_to_list(ours.config[key]) == tuple_to_list(theirs.config[key]), key


def tuple_to_list(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("conv_rank", [0, 1])
def test_a_lora_has_kohyas_number_of_layers(conv_rank: int, family: str, model: Model) -> None:
    adapter = attach(Lora(rank=1, conv_rank=conv_rank), model, torch.Generator())
    parts = [path.split(".")[0] for path in adapter.branches]
    adapter.detach()
    counts = tuple(parts.count(part) for part in ("unet", "text_encoder", "text_encoder_2"))
    assert counts == (LOCON_LAYERS if conv_rank else LORA_LAYERS)[family]


def test_unet_layers_have_the_single_file_names_that_kohya_uses(model: Model) -> None:
    layers = [f"unet.{name}" for name, module in model.parts()["unet"].named_modules() if hasattr(module, "weight")]
    names = ldm.map_unet_paths(layers)
    assert len(set(names.values())) == len(layers)
    first = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    levels = {3: "input_blocks.4.1", 4: "input_blocks.4.1"}
    assert names[first] == f"{levels[len(model.parts()['unet'].down_blocks)]}.transformer_blocks.0.attn1.to_q"


def test_the_released_model_of_a_family_has_the_published_shapes(family: str, published: dict[str, nn.Module]) -> None:
    released = FAMILIES[family].build_released().parts()
    for part, network in released.items():
        shapes = {name: tensor.shape for name, tensor in published[part].state_dict().items()}
        assert {name: tensor.shape for name, tensor in network.state_dict().items()} == shapes
