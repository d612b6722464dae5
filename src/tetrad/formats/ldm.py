"""Stable Diffusion's single-file checkpoints: CompVis' names (LDM) for the U-Net, the text towers and the VAE."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import KINDS, openclip
from tetrad.formats.names import inverted, renamed
from tetrad.weights import Weights

Table = dict[str, str]  # their module path → ours

UNET = "model.diffusion_model"
CLIP = "cond_stage_model.transformer.text_model"
VAE = "first_stage_model"
# Tensors that checkpoints carry and no network reads: averages, losses, the noise table, CLIP's row numbers, the last
# of OpenCLIP-H's 24 layers and its projection.
IGNORED = re.compile(
    r"^(model_ema\.|first_stage_model\.loss\.|loss\."
    r"|cond_stage_model\.(model\.)?(logit_scale|text_projection|attn_mask|transformer\.resblocks\.23\.)"
    r"|conditioner\.embedders\.\d\.(model\.|transformer\.)?(logit_scale|attn_mask)"
    r"|conditioner\.embedders\.0\.(transformer\.)?text_projection)|position_ids$"
)
FLAGS = ("v_pred", "ztsnr")  # empty tensors by which some checkpoints say what they predict, and over which noise
RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1"}
RESNET |= {"norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


@dataclass(frozen=True)
class Towers:
    """Where a family's single file keeps its text encoders, under whose names."""

    clip: Table = field(default_factory=dict)
    openclip: Table = field(default_factory=dict)
    framed: bool = False  # whether the U-Net reads sizes and crops


TOWERS = {
    "sd1": Towers(clip={CLIP: "text_encoder"}),
    "sd2": Towers(openclip={"cond_stage_model.model": "text_encoder"}),
    "sdxl": Towers(
        clip={"conditioner.embedders.0.transformer.text_model": "text_encoder"},
        openclip={"conditioner.embedders.1.model": "text_encoder_2.text_model"},
        framed=True,
    ),
}


def decode(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], family: str = "sd1") -> Weights:
    """A single file's tensors under canonical names.  E5009 where a part holds a name that has no translation.

    Flags among the tensors are told in the metadata, as `tetrad.flags`.
    """
    theirs = openclip.apart({name: tensors[old] for name, old in modern(tensors).items()})
    translated = renamed(theirs, table_of_file(theirs, family))
    for name in theirs:
        if name not in translated and name.startswith((UNET, "cond_stage_model.", "conditioner.", VAE)):
            what = KINDS[family][0].removeprefix("a ").removesuffix(" checkpoint")
            raise TetradError("E5009", f"the checkpoint holds {name}, which no {what} network has")
    found = {ours: flat(ours, theirs[name]) for name, ours in translated.items()}
    flags = {"tetrad.flags": " ".join(flag for flag in FLAGS if flag in tensors)}
    return Weights("checkpoint", found, {**metadata, **(flags if flags["tetrad.flags"] else {})})


def encode(weights: Weights, family: str = "sd1") -> dict[str, Tensor]:
    """Canonical weights under a single file's names, the inverse of `decode`."""
    translated = renamed(weights.tensors, inverted(table_of_weights(weights.tensors, family)))
    assert len(translated) == len(weights.tensors), "a canonical name without a spelling"
    theirs = {name: square(name, weights.tensors[ours]) for ours, name in translated.items()}
    flags = {flag: torch.zeros(0) for flag in weights.metadata.get("tetrad.flags", "").split()}
    return openclip.fused(theirs) | flags


def modern(names: Iterable[str]) -> dict[str, str]:
    """Names worth reading → the file's own; the oldest files leave `text_model` out of CLIP's names."""
    old = re.compile(r"^cond_stage_model\.transformer\.(?=embeddings|encoder|final_layer_norm)")
    return {old.sub(CLIP + ".", name): name for name in names if not IGNORED.search(name)}


def flat(name: str, tensor: Tensor) -> Tensor:
    """The VAE's attention is stored as 1×1 convolutions (C, C, 1, 1) and computed with matrices (C, C)."""
    is_matrix = name.startswith("vae.") and ".attentions." in name and name.endswith("weight") and tensor.ndim == 4
    return tensor[:, :, 0, 0] if is_matrix else tensor


def square(name: str, tensor: Tensor) -> Tensor:
    """The inverse of `flat`."""
    is_convolution = name.startswith(VAE) and ".attn_1." in name and tensor.ndim == 2
    return tensor[:, :, None, None] if is_convolution else tensor


def table_of_file(names: Collection[str], family: str) -> Table:
    """The table for a file, its depth read from the file's own names."""
    halvings = numbers(names, rf"{UNET}\.input_blocks\.(\d+)\.0\.op\.")
    levels, layers = len(halvings) + 1, min(halvings, default=3) - 1
    attends = [f"{UNET}.input_blocks.{1 + level * (layers + 1)}.1.norm.weight" in names for level in range(levels)]
    vae_levels = len(numbers(names, rf"{VAE}\.encoder\.down\.(\d+)\."))
    towers = TOWERS[family].clip | {}
    for theirs, ours in TOWERS[family].openclip.items():
        depth = len(numbers(names, rf"{re.escape(theirs)}\.transformer\.resblocks\.(\d+)\."))
        towers |= openclip.table(theirs, ours, depth)
    return unet_table(attends, layers, TOWERS[family].framed) | towers | vae_table(vae_levels)


def table_of_weights(names: Collection[str], family: str = "sd1") -> Table:
    """The same table, its depth read from canonical names."""
    levels = len(numbers(names, r"unet\.down_blocks\.(\d+)\."))
    layers = len(numbers(names, r"unet\.down_blocks\.0\.resnets\.(\d+)\."))
    attends = [
        any(name.startswith(f"unet.down_blocks.{level}.attentions.") for name in names) for level in range(levels)
    ]
    vae_levels = len(numbers(names, r"vae\.encoder\.down_blocks\.(\d+)\."))
    towers = TOWERS[family].clip | {}
    for theirs, ours in TOWERS[family].openclip.items():
        depth = len(numbers(names, rf"{re.escape(ours)}\.encoder\.layers\.(\d+)\."))
        towers |= openclip.table(theirs, ours, depth)
    framed = any(name.startswith("unet.add_embedding.") for name in names)
    return unet_table(attends, layers, framed) | towers | vae_table(vae_levels)


def unet_paths(layers: Collection[str]) -> Table:
    """Canonical paths of U-Net layers → their single-file paths without `model.diffusion_model.`.

    kohya spells an SDXL LoRA by these: `unet.down_blocks.1.attentions.0.proj_in` → `input_blocks.4.1.proj_in`. The
    model's whole list of layers is needed, since LDM counts them.
    """
    if not any(layer.startswith("unet.down_blocks.") for layer in layers):
        return {}
    back = {ours: theirs for theirs, ours in table_of_weights(layers).items()}
    found = renamed([layer for layer in layers if layer.startswith("unet.")], back)
    return {ours: theirs.removeprefix(UNET + ".") for ours, theirs in found.items()}


def numbers(names: Iterable[str], pattern: str) -> set[int]:
    return {int(found[1]) for name in names if (found := re.match(pattern, name))}


def unet_table(attends: list[bool], layers: int, framed: bool) -> Table:
    """A U-Net's modules; LDM numbers every layer and sampler of the way down and of the way up in one row."""
    table = {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2"}
    if framed:
        table |= {"label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2"}
    table |= {"input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out"}
    last = len(attends) - 1
    for level, attention in enumerate(attends):
        for layer in range(layers):
            theirs, ours = f"input_blocks.{1 + level * (layers + 1) + layer}", f"down_blocks.{level}"
            table |= resnet(f"{theirs}.0", f"{ours}.resnets.{layer}")
            table |= {f"{theirs}.1": f"{ours}.attentions.{layer}"} if attention else {}
        if level < last:
            table[f"input_blocks.{(level + 1) * (layers + 1)}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
    table |= resnet("middle_block.0", "mid_block.resnets.0") | resnet("middle_block.2", "mid_block.resnets.1")
    table["middle_block.1"] = "mid_block.attentions.0"
    for level, attention in enumerate(reversed(attends)):
        for layer in range(layers + 1):
            theirs, ours = f"output_blocks.{level * (layers + 1) + layer}", f"up_blocks.{level}"
            table |= resnet(f"{theirs}.0", f"{ours}.resnets.{layer}")
            table |= {f"{theirs}.1": f"{ours}.attentions.{layer}"} if attention else {}
        if level < last:  # the upsampler comes after the attention, where there is one
            theirs = f"output_blocks.{level * (layers + 1) + layers}.{2 if attention else 1}.conv"
            table[theirs] = f"up_blocks.{level}.upsamplers.0.conv"
    return {f"{UNET}.{theirs}": f"unet.{ours}" for theirs, ours in table.items()}


def resnet(theirs: str, ours: str) -> Table:
    return {f"{theirs}.{name}": f"{ours}.{path}" for path, name in RESNET.items()}


def vae_table(levels: int, layers: int = 2) -> Table:
    """A VAE's modules; LDM counts the way up from the last level down."""
    table = {name: name for name in ("quant_conv", "post_quant_conv")}
    for side in ("encoder", "decoder"):
        table |= {f"{side}.{name}": f"{side}.{name}" for name in ("conv_in", "conv_out")}
        table[f"{side}.norm_out"] = f"{side}.conv_norm_out"
        for number in (0, 1):
            table |= vae_resnet(f"{side}.mid.block_{number + 1}", f"{side}.mid_block.resnets.{number}")
        middle = f"{side}.mid_block.attentions.0"
        table |= {f"{side}.mid.attn_1.{theirs}": f"{middle}.{ours}" for ours, theirs in VAE_ATTENTION.items()}
    for level in range(levels):
        theirs, ours = f"encoder.down.{level}", f"encoder.down_blocks.{level}"
        for layer in range(layers):
            table |= vae_resnet(f"{theirs}.block.{layer}", f"{ours}.resnets.{layer}")
        table[f"{theirs}.downsample.conv"] = f"{ours}.downsamplers.0.conv"
        theirs, ours = f"decoder.up.{levels - 1 - level}", f"decoder.up_blocks.{level}"
        for layer in range(layers + 1):
            table |= vae_resnet(f"{theirs}.block.{layer}", f"{ours}.resnets.{layer}")
        table[f"{theirs}.upsample.conv"] = f"{ours}.upsamplers.0.conv"
    return {f"{VAE}.{theirs}": f"vae.{ours}" for theirs, ours in table.items()}


def vae_resnet(theirs: str, ours: str) -> Table:
    table = {f"{theirs}.{name}": f"{ours}.{name}" for name in ("norm1", "conv1", "norm2", "conv2")}
    return table | {f"{theirs}.nin_shortcut": f"{ours}.conv_shortcut"}
