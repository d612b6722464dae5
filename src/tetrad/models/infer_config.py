"""Network configurations inferred from tensor names and shapes, so that models of any width load without a config."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.models.text_encoder_spec import END_TOKEN_ID, START_TOKEN_ID
from tetrad.models.tokenizer import CONTEXT_LENGTH

if TYPE_CHECKING:
    from tetrad.models.networks import CLIPTextConfig

Tensors = Mapping[str, Tensor]
# Settings that tensor shapes cannot show: "unet.norm_num_groups", "text_encoder.head_width", …
ExtraConfig = Mapping[str, Any]


_MISSING_TENSORS = _(
    "{network} does not fit: {tensor} is missing (missing tensors: {missing}, left over: {extra}); the file is damaged"
    " or of another family"
)
EXTRA_TENSORS = _(
    "{network} does not fit: {tensor} belongs to no layer (tensors left over: {extra}); the file is damaged or of"
    " another family"
)


def infer_unet_config(tensors: Tensors, extra_config: ExtraConfig, pooled_width: int = 0) -> dict[str, Any]:
    """Arguments of diffusers' UNet2DConditionModel; `pooled_width` is the size of the pooled text embedding."""
    levels = _count_indices(tensors, r"down_blocks\.(\d+)\.")
    widths = [len(tensors[f"down_blocks.{n}.resnets.0.conv1.weight"]) for n in range(levels)]
    depths = [
        _count_indices(tensors, rf"down_blocks\.{n}\.attentions\.0\.transformer_blocks\.(\d+)\.") for n in range(levels)
    ]
    first_attention = f"down_blocks.{[depth > 0 for depth in depths].index(True)}.attentions.0."
    heads = extra_config.get("unet.attention_head_dim")  # diffusers' old name for the number of heads
    config = {
        "in_channels": tensors["conv_in.weight"].shape[1],
        "out_channels": len(tensors["conv_out.weight"]),
        "block_out_channels": widths,
        "layers_per_block": _count_indices(tensors, r"down_blocks\.0\.resnets\.(\d+)\."),
        "transformer_layers_per_block": 1 if max(depths) == 1 else [max(1, depth) for depth in depths],
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        "cross_attention_dim": tensors[first_attention + "transformer_blocks.0.attn2.to_k.weight"].shape[1],
        "use_linear_projection": tensors[first_attention + "proj_in.weight"].ndim == 2,
        "attention_head_dim": heads or [max(1, width // extra_config["unet.head_width"]) for width in widths],
        "norm_num_groups": extra_config["unet.norm_num_groups"],
    }
    if "add_embedding.linear_1.weight" in tensors:
        added_width = tensors["add_embedding.linear_1.weight"].shape[1]
        config |= {"addition_embed_type": "text_time", "projection_class_embeddings_input_dim": added_width}
        config |= {"addition_time_embed_dim": (added_width - pooled_width) // 6}
    return config


def infer_text_encoder_config(tensors: Tensors, head_width: int, activation: str) -> "CLIPTextConfig":
    """CLIP's text configuration, with or without a projection."""
    from tetrad.models.networks import CLIPTextConfig

    model_tensors = {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
    vocabulary_size, width = model_tensors["embeddings.token_embedding.weight"].shape
    projection = (
        {"projection_dim": len(model_tensors["text_projection.weight"])}
        if "text_projection.weight" in model_tensors
        else {}
    )
    return CLIPTextConfig(
        vocab_size=vocabulary_size,
        hidden_size=width,
        intermediate_size=len(model_tensors["encoder.layers.0.mlp.fc1.weight"]),
        num_hidden_layers=_count_indices(model_tensors, r"encoder\.layers\.(\d+)\."),
        num_attention_heads=max(1, width // head_width),
        max_position_embeddings=CONTEXT_LENGTH,
        hidden_act=activation,
        bos_token_id=START_TOKEN_ID,
        eos_token_id=END_TOKEN_ID,
        **projection,
    )


def infer_vae_config(tensors: Tensors, extra_config: ExtraConfig, scaling_factor: float = 0.18215) -> dict[str, Any]:
    """Arguments of diffusers' AutoencoderKL."""
    levels = _count_indices(tensors, r"encoder\.down_blocks\.(\d+)\.")
    return {
        "latent_channels": tensors["decoder.conv_in.weight"].shape[1],
        "block_out_channels": [len(tensors[f"encoder.down_blocks.{n}.resnets.0.conv1.weight"]) for n in range(levels)],
        "layers_per_block": _count_indices(tensors, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": extra_config["vae.norm_num_groups"],
        "scaling_factor": scaling_factor,
    }


def _count_indices(names: Iterable[str], pattern: str) -> int:
    """How many different numbers the first group of `pattern` matches at the start of the names."""
    return len({match[1] for name in names if (match := re.match(pattern, name))})


def load_state_dict(network: nn.Module, tensors: Tensors, network_name: str | Message) -> None:
    """Load tensors as float32 into a network on the meta device; all names and shapes must match.

    Tensors that are float32 already are not copied.  E5009 if one is missing, left over or has another shape.
    """
    expected = network.state_dict()
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or extra:
        raise TetradError(
            "E5009",
            _MISSING_TENSORS if missing else EXTRA_TENSORS,
            network=network_name,
            tensor=(missing or extra)[0],
            missing=len(missing),
            extra=len(extra),
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise TetradError(
                "E5009",
                _("{network} does not fit: {tensor} has shape {found}, not {expected}; the file is of another family"),
                network=network_name,
                tensor=name,
                found=tuple(tensor.shape),
                expected=tuple(expected[name].shape),
            )
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
