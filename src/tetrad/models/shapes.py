"""Networks shaped by the names and sizes of their tensors, so that a narrow model and the real one are built alike."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from transformers import CLIPTextConfig

from tetrad.errors import TetradError
from tetrad.models.text import END, START, WINDOW

Tensors = Mapping[str, Tensor]
About = Mapping[str, Any]  # what shapes do not tell: "unet.norm_num_groups", "text_encoder.head_width", …


def unet(tensors: Tensors, about: About, pooled: int = 0) -> dict[str, Any]:
    """Arguments of diffusers' UNet2DConditionModel; `pooled` is the width of the text vector beside the sizes."""
    levels = count(tensors, r"down_blocks\.(\d+)\.")
    widths = [len(tensors[f"down_blocks.{n}.resnets.0.conv1.weight"]) for n in range(levels)]
    depths = [count(tensors, rf"down_blocks\.{n}\.attentions\.0\.transformer_blocks\.(\d+)\.") for n in range(levels)]
    first = f"down_blocks.{[depth > 0 for depth in depths].index(True)}.attentions.0."
    heads = about.get("unet.attention_head_dim")  # diffusers' old name for the number of heads
    found = {
        "block_out_channels": widths,
        "layers_per_block": count(tensors, r"down_blocks\.0\.resnets\.(\d+)\."),
        "transformer_layers_per_block": 1 if max(depths) == 1 else [max(1, depth) for depth in depths],
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        "cross_attention_dim": tensors[first + "transformer_blocks.0.attn2.to_k.weight"].shape[1],
        "use_linear_projection": tensors[first + "proj_in.weight"].ndim == 2,
        "attention_head_dim": heads or [max(1, width // about["unet.head_width"]) for width in widths],
        "norm_num_groups": about["unet.norm_num_groups"],
    }
    if "add_embedding.linear_1.weight" in tensors:
        added = tensors["add_embedding.linear_1.weight"].shape[1]
        found |= {"addition_embed_type": "text_time", "projection_class_embeddings_input_dim": added}
        found |= {"addition_time_embed_dim": (added - pooled) // 6}
    return found


def text(tensors: Tensors, head_width: int, activation: str) -> CLIPTextConfig:
    """CLIP's text configuration, with or without a projection."""
    inner = {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
    words, width = inner["embeddings.token_embedding.weight"].shape
    projection = {"projection_dim": len(inner["text_projection.weight"])} if "text_projection.weight" in inner else {}
    return CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=len(inner["encoder.layers.0.mlp.fc1.weight"]),
        num_hidden_layers=count(inner, r"encoder\.layers\.(\d+)\."),
        num_attention_heads=max(1, width // head_width),
        max_position_embeddings=WINDOW,
        hidden_act=activation,
        bos_token_id=START,
        eos_token_id=END,
        **projection,
    )


def vae(tensors: Tensors, about: About, scale: float = 0.18215) -> dict[str, Any]:
    """Arguments of diffusers' AutoencoderKL."""
    levels = count(tensors, r"encoder\.down_blocks\.(\d+)\.")
    return {
        "block_out_channels": [len(tensors[f"encoder.down_blocks.{n}.resnets.0.conv1.weight"]) for n in range(levels)],
        "layers_per_block": count(tensors, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": about["vae.norm_num_groups"],
        "scaling_factor": scale,
    }


def count(names: Iterable[str], pattern: str) -> int:
    """How many different numbers `pattern` finds, from the start of a name."""
    return len({found[1] for name in names if (found := re.match(pattern, name))})


def fill(network: nn.Module, tensors: Tensors, what: str) -> None:
    """Give a network on the meta device its tensors, as float32; every name and every shape must agree.

    What is float32 already is taken as it is, not copied.  E5009 where one is missing, left over or of another shape.
    """
    wanted = network.state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        first = f"{missing[0]} is missing" if missing else f"{extra[0]} belongs to no layer"
        raise TetradError(
            "E5009",
            f"{what} does not fit: {len(missing)} tensors are missing and {len(extra)} left over ({first}); "
            "the file is damaged or of another family",
        )
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(wanted[name].shape)}"
            raise TetradError("E5009", f"{what} does not fit: {name} is {shapes}; the file is of another family")
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
