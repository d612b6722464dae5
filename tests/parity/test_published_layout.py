"""The real layouts of all families, without their numbers: names, shapes and configurations as published."""

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

from tetrad.formats import KINDS, ldm, sniff
from tetrad.methods.lora import Lora
from tetrad.models import FAMILIES
from tetrad.models.base import Model
from tetrad.models.sd import StableDiffusion
from tetrad.weights import Weights

FOUR = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
FOUR |= {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
XL = {
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
SD2 = {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True}


def text(width: int, layers: int, act: str, kind: type[nn.Module] = CLIPTextModel, **more: int) -> nn.Module:
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": width // 64}
    ends = {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407}
    return kind(CLIPTextConfig(**sizes, **ends, num_hidden_layers=layers, hidden_act=act, **more))


PUBLISHED = {
    "sd1": {
        "unet": lambda: UNet2DConditionModel(cross_attention_dim=768),
        "text_encoder": lambda: text(768, 12, "quick_gelu"),
        "vae": lambda: AutoencoderKL(**FOUR),
    },
    "sd2": {
        "unet": lambda: UNet2DConditionModel(**SD2),
        "text_encoder": lambda: text(1024, 23, "gelu"),
        "vae": lambda: AutoencoderKL(**FOUR),
    },
    "sdxl": {
        "unet": lambda: UNet2DConditionModel(**XL),
        "text_encoder": lambda: text(768, 12, "quick_gelu"),
        "text_encoder_2": lambda: text(1280, 32, "gelu", CLIPTextModelWithProjection, projection_dim=1280),
        "vae": lambda: AutoencoderKL(**FOUR, scaling_factor=0.13025),
    },
}
UNETS = {"sd1": 686, "sd2": 686, "sdxl": 1680}  # tensors of the U-Net in the published files
LORAS = {"sd1": (192, 72, 0), "sd2": (192, 138, 0), "sdxl": (722, 72, 192)}  # kohya's number of layers by part
CONVOLUTIONS = {"sd1": (278, 72, 0), "sd2": (278, 138, 0), "sdxl": (788, 72, 192)}  # with convolutions


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def published(family: str) -> dict[str, nn.Module]:
    with torch.device("meta"):
        return {part: make() for part, make in PUBLISHED[family].items()}


@pytest.fixture(scope="module")
def numbered(published: dict[str, nn.Module]) -> Weights:
    """A tensor for each name and shape, filled with a number of its own; one number is all the memory it takes."""
    named = [(f"{p}.{key}", t.shape) for p, net in published.items() for key, t in net.state_dict().items()]
    return Weights("checkpoint", {name: torch.tensor(float(n)).expand(shape) for n, (name, shape) in enumerate(named)})


@pytest.fixture(scope="module")
def shaped(family: str, published: dict[str, nn.Module]) -> Model:
    """What we build from the published names and shapes alone."""
    named = {f"{p}.{key}": tensor for p, net in published.items() for key, tensor in net.state_dict().items()}
    built: type[StableDiffusion] = FAMILIES[family]  # type: ignore[assignment]
    return built.build(Weights("checkpoint", named), "real", "epsilon")


def facts(tensors: Mapping[str, Tensor]) -> dict[str, tuple[tuple[int, ...], float]]:
    """The shape of each tensor, and its number."""
    return {name: (tuple(tensor.shape), tensor[(0,) * tensor.ndim].item()) for name, tensor in tensors.items()}


def test_our_names_are_undone_by_diffusers(family: str, numbered: Weights, published: dict[str, nn.Module]) -> None:
    file = ldm.encode(numbered, family)
    assert sum(name.startswith("model.diffusion_model.") for name in file) == UNETS[family]
    assert sum(name.startswith("first_stage_model.") for name in file) == 248
    assert sniff(file) == family and family in KINDS
    undone = {
        "unet": convert_ldm_unet_checkpoint(dict(file), dict(published["unet"].config)),
        "vae": convert_ldm_vae_checkpoint(dict(file), dict(published["vae"].config)),
    }
    for part, theirs in undone.items():
        assert facts(theirs) == facts(numbered.part(part))
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
        assert facts(theirs) == facts(ours)


def test_the_published_layout_comes_back_from_its_single_file(family: str, numbered: Weights) -> None:
    assert facts(ldm.decode(ldm.encode(numbered, family), {}, family).tensors) == facts(numbered.tensors)


def test_the_configurations_read_off_the_shapes_are_the_published_ones(
    published: dict[str, nn.Module], shaped: Model
) -> None:
    for part, theirs in published.items():
        ours: Any = (shaped.parts() | {"vae": shaped.vae.network})[part]
        if part.startswith("text"):
            assert ours.config.to_dict() == theirs.config.to_dict()
        else:
            for key in {key for key in ours.config if not key.startswith("_")} - {"sample_size"}:
                assert plain(ours.config[key]) == plain(theirs.config[key]), key


def plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("conv_rank", [0, 1])
def test_a_lora_has_kohyas_number_of_modules(conv_rank: int, family: str, shaped: Model) -> None:
    adapter = Lora(rank=1, conv_rank=conv_rank).attach(shaped, torch.Generator())
    parts = [path.split(".")[0] for path in adapter.branches]
    adapter.detach()
    counts = tuple(parts.count(part) for part in ("unet", "text_encoder", "text_encoder_2"))
    assert counts == (CONVOLUTIONS if conv_rank else LORAS)[family]


def test_sdxl_layers_have_the_names_kohya_spells_a_lora_by(shaped: Model) -> None:
    layers = [f"unet.{name}" for name, module in shaped.parts()["unet"].named_modules() if hasattr(module, "weight")]
    names = ldm.unet_paths(layers)
    assert len(set(names.values())) == len(layers)
    first = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    levels = {3: "input_blocks.4.1", 4: "input_blocks.4.1"}
    assert names[first] == f"{levels[len(shaped.parts()['unet'].down_blocks)]}.transformer_blocks.0.attn1.to_q"
