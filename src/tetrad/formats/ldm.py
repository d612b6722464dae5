"""Stable Diffusion's single-file checkpoints: CompVis's names (LDM) for the U-Net, the text encoders and the VAE."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tetrad.errors import TetradError
from tetrad.formats import openclip
from tetrad.formats.key_tables import invert_table, translate_names
from tetrad.locales import _
from tetrad.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

_KeyTable = dict[str, str]  # the file's module path → the canonical one

UNET_PREFIX = "model.diffusion_model"
CLIP_PREFIX = "cond_stage_model.transformer.text_model"
VAE_PREFIX = "first_stage_model"
# Tensors in checkpoints that no network uses: EMA weights, losses, the noise schedule, CLIP's position ids, the last of
# OpenCLIP-H's 24 layers and its projection.
_IGNORED_KEYS = re.compile(
    r"^(model_ema\.|first_stage_model\.loss\.|loss\."
    r"|cond_stage_model\.(model\.)?(logit_scale|text_projection|attn_mask|transformer\.resblocks\.23\.)"
    r"|conditioner\.embedders\.\d\.(model\.|transformer\.)?(logit_scale|attn_mask)"
    r"|conditioner\.embedders\.0\.(transformer\.)?text_projection)|position_ids$"
)
_OLD_CLIP_PREFIX = re.compile(r"^cond_stage_model\.transformer\.(?=embeddings|encoder|final_layer_norm)")
_NETWORK_PREFIXES = (UNET_PREFIX, "cond_stage_model.", "conditioner.", VAE_PREFIX)
# The noise schedule that CompVis's own files keep.
_SCHEDULE_PREFIXES = ("betas", "alphas_cumprod", "sqrt_", "log_one_minus_", "posterior_")
FLAG_KEYS = ("v_pred", "ztsnr")  # empty tensors that mark v-prediction and a zero-terminal noise schedule
_RESNET_NAMES = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1"}
_RESNET_NAMES |= {"norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
_VAE_ATTENTION_NAMES = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


@dataclass(frozen=True)
class SingleFileLayout:
    """The names under which a family's single file keeps its text encoders: prefix in the file → canonical prefix."""

    title: str  # of the family
    clip: _KeyTable = field(default_factory=dict)
    openclip: _KeyTable = field(default_factory=dict)
    has_micro_conditioning: bool = False  # whether the U-Net takes the image's size and crop

    @property
    def text_encoders(self) -> list[str]:
        """Canonical names of the text encoders in the file."""
        return [*self.clip.values(), *self.openclip.values()]


SD1 = SingleFileLayout("Stable Diffusion 1", clip={CLIP_PREFIX: "text_encoder"})


def decode(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], layout: SingleFileLayout = SD1) -> Weights:
    """A single file's tensors under canonical names.  E5009 for a name in a known part that has no translation.

    Flag tensors become the metadata entry `tetrad.flags`.
    """
    ldm_tensors = openclip.split_qkv(
        {name: tensors[file_key] for name, file_key in _map_normalized_names(tensors).items()}
    )
    canonical_names = translate_names(ldm_tensors, _build_table_for_file(ldm_tensors, layout))
    for name in ldm_tensors:
        if name not in canonical_names and name.startswith(_NETWORK_PREFIXES):
            raise TetradError(
                "E5009",
                _(
                    "the checkpoint contains {tensor}, which no {family} network has; it is damaged or of another"
                    " family"
                ),
                tensor=name,
                family=layout.title,
            )
    canonical_tensors = {
        canonical_name: attention_conv_to_linear(canonical_name, ldm_tensors[name])
        for name, canonical_name in canonical_names.items()
    }
    flags = {"tetrad.flags": " ".join(flag for flag in FLAG_KEYS if flag in tensors)}
    return Weights("checkpoint", canonical_tensors, {**metadata, **(flags if flags["tetrad.flags"] else {})})


def encode(weights: Weights, layout: SingleFileLayout = SD1) -> dict[str, Tensor]:
    """Canonical weights under a single file's names; the inverse of `decode`."""
    import torch

    ldm_names = translate_names(weights.tensors, invert_table(build_table_for_weights(weights.tensors, layout)))
    assert len(ldm_names) == len(weights.tensors), "a canonical name has no LDM name"
    ldm_tensors = {
        name: attention_linear_to_conv(name, weights.tensors[canonical_name])
        for canonical_name, name in ldm_names.items()
    }
    flags = {flag: torch.zeros(0) for flag in weights.metadata.get("tetrad.flags", "").split()}
    return openclip.fuse_qkv(ldm_tensors) | flags


def is_left_over(name: str) -> bool:
    """Whether a tensor of a single file is of no network that generates images: EMA weights, for example."""
    return not name.startswith((*_NETWORK_PREFIXES, *_SCHEDULE_PREFIXES)) and name not in FLAG_KEYS


def locate_parts(names: Collection[str], layout: SingleFileLayout = SD1) -> dict[str, list[str]]:
    """The canonical names of what each of a file's tensors holds, in the order in which `split_tensor` gives it.

    Names of tensors that no network uses are left out.
    """
    import torch

    canonical: dict[str, list[str]] = {}
    split_names = {
        normalized: list(split_tensor(normalized, torch.empty(3, 1, device="meta")))
        for normalized in _map_normalized_names(names)
    }
    table = _build_table_for_file([name for parts in split_names.values() for name in parts], layout)
    for normalized, file_key in _map_normalized_names(names).items():
        translated = translate_names(split_names[normalized], table)
        if len(translated) == len(split_names[normalized]):
            canonical[file_key] = list(translated.values())
    return canonical


def split_tensor(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """One tensor of a file as a network has it: the three matrices of OpenCLIP's q, k and v, or the tensor itself."""
    return openclip.split_qkv({name: tensor})


def join_tensor(parts: Mapping[str, Tensor]) -> Tensor:
    """The inverse of `split_tensor`."""
    (tensor,) = openclip.fuse_qkv(parts).values()
    return tensor


def _map_normalized_names(names: Iterable[str]) -> dict[str, str]:
    """Normalized names of the tensors that are used → their names in the file."""
    return {normalize_name(name): name for name in names if not _IGNORED_KEYS.search(name)}


def normalize_name(name: str) -> str:
    """A tensor's name as current files have it: the oldest ones leave `text_model` out of CLIP's names."""
    return _OLD_CLIP_PREFIX.sub(f"{CLIP_PREFIX}.", name)


def attention_conv_to_linear(name: str, tensor: Tensor) -> Tensor:
    """Single files store the VAE's attention as 1×1 convolutions (C, C, 1, 1); diffusers computes with (C, C)."""
    is_matrix = name.startswith("vae.") and ".attentions." in name and name.endswith("weight") and tensor.ndim == 4
    return tensor[:, :, 0, 0] if is_matrix else tensor


def attention_linear_to_conv(name: str, tensor: Tensor) -> Tensor:
    """The inverse of `attention_conv_to_linear`."""
    is_convolution = name.startswith(VAE_PREFIX) and ".attn_1." in name and tensor.ndim == 2
    return tensor[:, :, None, None] if is_convolution else tensor


def _build_table_for_file(names: Collection[str], layout: SingleFileLayout) -> _KeyTable:
    """The name table for a file; the number of levels and layers is counted from the names in it."""
    downsampler_indices = find_indices(names, rf"{UNET_PREFIX}\.input_blocks\.(\d+)\.0\.op\.")
    levels, layers_per_block = len(downsampler_indices) + 1, min(downsampler_indices, default=3) - 1
    has_attention = [
        f"{UNET_PREFIX}.input_blocks.{1 + level * (layers_per_block + 1)}.1.norm.weight" in names
        for level in range(levels)
    ]
    vae_levels = len(find_indices(names, rf"{VAE_PREFIX}\.encoder\.down\.(\d+)\."))
    text_encoder_table = layout.clip | {}
    for openclip_prefix, canonical_prefix in layout.openclip.items():
        layer_count = len(find_indices(names, rf"{re.escape(openclip_prefix)}\.transformer\.resblocks\.(\d+)\."))
        text_encoder_table |= openclip.build_table(openclip_prefix, canonical_prefix, layer_count)
    return (
        _build_unet_table(has_attention, layers_per_block, layout.has_micro_conditioning)
        | text_encoder_table
        | build_vae_table(vae_levels)
    )


def build_table_for_weights(names: Collection[str], layout: SingleFileLayout = SD1) -> _KeyTable:
    """The same table, with levels and layers counted from canonical names."""
    levels = len(find_indices(names, r"unet\.down_blocks\.(\d+)\."))
    layers_per_block = len(find_indices(names, r"unet\.down_blocks\.0\.resnets\.(\d+)\."))
    has_attention = [
        any(name.startswith(f"unet.down_blocks.{level}.attentions.") for name in names) for level in range(levels)
    ]
    vae_levels = len(find_indices(names, r"vae\.encoder\.down_blocks\.(\d+)\."))
    text_encoder_table = layout.clip | {}
    for openclip_prefix, canonical_prefix in layout.openclip.items():
        layer_count = len(find_indices(names, rf"{re.escape(canonical_prefix)}\.encoder\.layers\.(\d+)\."))
        text_encoder_table |= openclip.build_table(openclip_prefix, canonical_prefix, layer_count)
    has_micro_conditioning = any(name.startswith("unet.add_embedding.") for name in names)
    return (
        _build_unet_table(has_attention, layers_per_block, has_micro_conditioning)
        | text_encoder_table
        | build_vae_table(vae_levels)
    )


def map_unet_paths(layers: Collection[str]) -> _KeyTable:
    """Canonical paths of U-Net layers → their single-file paths without `model.diffusion_model.`.

    kohya names the layers of an SDXL LoRA by these: `unet.down_blocks.1.attentions.0.proj_in` →
    `input_blocks.4.1.proj_in`. All layers of the model are needed, because LDM numbers them consecutively.
    """
    if not any(layer.startswith("unet.down_blocks.") for layer in layers):
        return {}
    ldm_paths = {canonical_path: ldm_path for ldm_path, canonical_path in build_table_for_weights(layers).items()}
    full_ldm_paths = translate_names([layer for layer in layers if layer.startswith("unet.")], ldm_paths)
    return {ours: theirs.removeprefix(UNET_PREFIX + ".") for ours, theirs in full_ldm_paths.items()}


def find_indices(names: Iterable[str], pattern: str) -> set[int]:
    return {int(match[1]) for name in names if (match := re.match(pattern, name))}


def _build_unet_table(has_attention: list[bool], layers_per_block: int, has_micro_conditioning: bool) -> _KeyTable:
    """The table of a U-Net's modules; LDM numbers all layers and samplers of each side consecutively."""
    table = {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2"}
    if has_micro_conditioning:
        table |= {"label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2"}
    table |= {"input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out"}
    last_level = len(has_attention) - 1
    for level, attention in enumerate(has_attention):
        for layer in range(layers_per_block):
            ldm_path, canonical_path = (
                f"input_blocks.{1 + level * (layers_per_block + 1) + layer}",
                f"down_blocks.{level}",
            )
            table |= _build_resnet_table(f"{ldm_path}.0", f"{canonical_path}.resnets.{layer}")
            table |= {f"{ldm_path}.1": f"{canonical_path}.attentions.{layer}"} if attention else {}
        if level < last_level:
            table[f"input_blocks.{(level + 1) * (layers_per_block + 1)}.0.op"] = (
                f"down_blocks.{level}.downsamplers.0.conv"
            )
    table |= _build_resnet_table("middle_block.0", "mid_block.resnets.0") | _build_resnet_table(
        "middle_block.2", "mid_block.resnets.1"
    )
    table["middle_block.1"] = "mid_block.attentions.0"
    for level, attention in enumerate(reversed(has_attention)):
        for layer in range(layers_per_block + 1):
            ldm_path, canonical_path = f"output_blocks.{level * (layers_per_block + 1) + layer}", f"up_blocks.{level}"
            table |= _build_resnet_table(f"{ldm_path}.0", f"{canonical_path}.resnets.{layer}")
            table |= {f"{ldm_path}.1": f"{canonical_path}.attentions.{layer}"} if attention else {}
        if level < last_level:  # the upsampler comes after the attention, if there is one
            ldm_path = f"output_blocks.{level * (layers_per_block + 1) + layers_per_block}.{2 if attention else 1}.conv"
            table[ldm_path] = f"up_blocks.{level}.upsamplers.0.conv"
    return {f"{UNET_PREFIX}.{ldm_path}": f"unet.{canonical_path}" for ldm_path, canonical_path in table.items()}


def _build_resnet_table(ldm_path: str, canonical_path: str) -> _KeyTable:
    return {f"{ldm_path}.{name}": f"{canonical_path}.{path}" for path, name in _RESNET_NAMES.items()}


def build_vae_table(levels: int, layers_per_block: int = 2) -> _KeyTable:
    """The table of a VAE's modules; LDM numbers the decoder's levels in reverse order."""
    table = {name: name for name in ("quant_conv", "post_quant_conv")}
    for side in ("encoder", "decoder"):
        table |= {f"{side}.{name}": f"{side}.{name}" for name in ("conv_in", "conv_out")}
        table[f"{side}.norm_out"] = f"{side}.conv_norm_out"
        for number in (0, 1):
            table |= _build_vae_resnet_table(f"{side}.mid.block_{number + 1}", f"{side}.mid_block.resnets.{number}")
        mid_attention = f"{side}.mid_block.attentions.0"
        table |= {
            f"{side}.mid.attn_1.{theirs}": f"{mid_attention}.{ours}" for ours, theirs in _VAE_ATTENTION_NAMES.items()
        }
    for level in range(levels):
        ldm_path, canonical_path = f"encoder.down.{level}", f"encoder.down_blocks.{level}"
        for layer in range(layers_per_block):
            table |= _build_vae_resnet_table(f"{ldm_path}.block.{layer}", f"{canonical_path}.resnets.{layer}")
        table[f"{ldm_path}.downsample.conv"] = f"{canonical_path}.downsamplers.0.conv"
        ldm_path, canonical_path = f"decoder.up.{levels - 1 - level}", f"decoder.up_blocks.{level}"
        for layer in range(layers_per_block + 1):
            table |= _build_vae_resnet_table(f"{ldm_path}.block.{layer}", f"{canonical_path}.resnets.{layer}")
        table[f"{ldm_path}.upsample.conv"] = f"{canonical_path}.upsamplers.0.conv"
    return {f"{VAE_PREFIX}.{ldm_path}": f"vae.{canonical_path}" for ldm_path, canonical_path in table.items()}


def _build_vae_resnet_table(ldm_path: str, canonical_path: str) -> _KeyTable:
    table = {f"{ldm_path}.{name}": f"{canonical_path}.{name}" for name in ("norm1", "conv1", "norm2", "conv2")}
    return table | {f"{ldm_path}.nin_shortcut": f"{canonical_path}.conv_shortcut"}
