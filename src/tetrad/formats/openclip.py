"""OpenCLIP's text encoder names, used in single files of Stable Diffusion 2 and XL: q, k and v in one tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


_FUSED_QKV_KEY = re.compile(r"(.*\.attn\.)in_proj_(weight|bias)$")
_QUERY_KEY = re.compile(r"(.*\.attn\.)q_proj\.(weight|bias)$")
_LAYER_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn": "self_attn",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def build_table(openclip_prefix: str, canonical_prefix: str, layer_count: int) -> dict[str, str]:
    """OpenCLIP's module paths → canonical ones, for an encoder whose q, k and v have been split.

    `canonical_prefix` is the path of CLIPTextModel's root.
    """
    entries = {
        f"{openclip_prefix}.positional_embedding": f"{canonical_prefix}.embeddings.position_embedding.weight",
        f"{openclip_prefix}.token_embedding": f"{canonical_prefix}.embeddings.token_embedding",
        f"{openclip_prefix}.ln_final": f"{canonical_prefix}.final_layer_norm",
        f"{openclip_prefix}.text_projection": f"{canonical_prefix.removesuffix('.text_model')}.text_projection.weight",
    }
    for n in range(layer_count):
        prefixes = f"{openclip_prefix}.transformer.resblocks.{n}", f"{canonical_prefix}.encoder.layers.{n}"
        entries |= {f"{prefixes[0]}.{a}": f"{prefixes[1]}.{b}" for a, b in _LAYER_NAMES.items()}
    return entries


def split_qkv(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with q, k and v split and the projection transposed for nn.Linear; views, not copies."""
    split_tensors: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if match := _FUSED_QKV_KEY.match(name):
            split_tensors |= {
                f"{match[1]}{x}_proj.{match[2]}": part for x, part in zip("qkv", tensor.chunk(3), strict=True)
            }
        else:
            split_tensors[name] = tensor.T if name.endswith(".text_projection") else tensor
    return split_tensors


def fuse_qkv(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `split_qkv`."""
    import torch

    fused_tensors: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if match := _QUERY_KEY.match(name):
            fused_tensors[f"{match[1]}in_proj_{match[2]}"] = torch.cat(
                [tensors[name.replace("q_proj", f"{x}_proj")] for x in "qkv"]
            )
        elif not name.endswith(
            (".attn.k_proj.weight", ".attn.k_proj.bias", ".attn.v_proj.weight", ".attn.v_proj.bias")
        ):
            fused_tensors[name] = tensor.T if name.endswith(".text_projection") else tensor
    return fused_tensors
