"""OpenCLIP's names for a text tower, as single files of Stable Diffusion 2 and XL hold it: q, k and v in one."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

FUSED = re.compile(r"(.*\.attn\.)in_proj_(weight|bias)$")
APART = re.compile(r"(.*\.attn\.)q_proj\.(weight|bias)$")
LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn": "self_attn",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def table(theirs: str, ours: str, layers: int) -> dict[str, str]:
    """Their paths → ours for a tower whose query, key and value are apart.  `ours` is CLIPTextModel's own root."""
    found = {
        f"{theirs}.positional_embedding": f"{ours}.embeddings.position_embedding.weight",
        f"{theirs}.token_embedding": f"{ours}.embeddings.token_embedding",
        f"{theirs}.ln_final": f"{ours}.final_layer_norm",
        f"{theirs}.text_projection": f"{ours.removesuffix('.text_model')}.text_projection.weight",
    }
    for n in range(layers):
        root = f"{theirs}.transformer.resblocks.{n}", f"{ours}.encoder.layers.{n}"
        found |= {f"{root[0]}.{a}": f"{root[1]}.{b}" for a, b in LAYER.items()}
    return found


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value under a name each, and the projection as a linear layer has it; views, no copies."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if fused := FUSED.match(name):
            found |= {f"{fused[1]}{x}_proj.{fused[2]}": part for x, part in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            found[name] = tensor.T if name.endswith(".text_projection") else tensor
    return found


def fused(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `apart`."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if first := APART.match(name):
            found[f"{first[1]}in_proj_{first[2]}"] = torch.cat(
                [tensors[name.replace("q_proj", f"{x}_proj")] for x in "qkv"]
            )
        elif not name.endswith(
            (".attn.k_proj.weight", ".attn.k_proj.bias", ".attn.v_proj.weight", ".attn.v_proj.bias")
        ):
            found[name] = tensor.T if name.endswith(".text_projection") else tensor
    return found
