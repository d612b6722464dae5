"""VAE files with any prefix, LDM's or diffusers' names, attention as matrices or as 1×1 convolutions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tetrad.formats import diffusers, ldm
from tetrad.formats.key_tables import invert_table, translate_names
from tetrad.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

# The prefix of a VAE's names in a checkpoint, in a pipeline saved as one flat file, and in a VAE file.
PREFIXES = (f"{ldm.VAE_PREFIX}.", "vae.", "")
# Left over from training: discriminator and LPIPS, EMA weights. NovelAI's and Stability's files contain them.
_TRAINING_ONLY_KEY = re.compile(r"^(loss|model_ema)\.")
_TAESD_KEY = re.compile(r"^((encoder|decoder)\.)?(layers\.)?\d+\.(conv\.\d+\.)?weight$")
_VAE_KEY = re.compile(r"^(encoder|decoder|quant_conv|post_quant_conv)\.")


@dataclass(frozen=True)
class _KeyMapping:
    """A tensor's canonical name and its name in the file."""

    canonical_key: str
    file_key: str


def decode(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[Weights, list[str]]:
    """The VAE in a file's tensors under canonical names, and the names that match no VAE layer.

    The weights are empty if the file has no VAE. The tensors keep their dtype.
    """
    keys, unmatched_keys = find_vae_keys(tensors)
    canonical = {
        key.canonical_key: ldm.attention_conv_to_linear(key.canonical_key, tensors[key.file_key]) for key in keys
    }
    return Weights("vae", canonical, dict(metadata)), unmatched_keys


def find_vae_keys(names: Collection[str]) -> tuple[list[_KeyMapping], list[str]]:
    """The names of the VAE's tensors in a file, and the names among them that match no VAE layer."""
    prefix = _find_prefix(names)
    vae_names = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    vae_names = [
        name for name in vae_names if not _TRAINING_ONLY_KEY.search(name) and (prefix or not is_other_network(name))
    ]
    table = build_table(vae_names)
    canonical_names = (
        translate_names([f"{ldm.VAE_PREFIX}.{name}" for name in vae_names], table) if _has_ldm_names(vae_names) else {}
    )
    keys, unmatched_keys = [], []
    for name in vae_names:
        canonical_key = (
            canonical_names.get(f"{ldm.VAE_PREFIX}.{name}")
            if _has_ldm_names(vae_names)
            else f"vae.{diffusers.normalize_name(name)}"
        )
        if canonical_key is None or not _VAE_KEY.match(name):
            unmatched_keys.append(prefix + name)
        else:
            keys.append(_KeyMapping(canonical_key, prefix + name))
    return keys, unmatched_keys


def _find_prefix(names: Iterable[str]) -> str:
    """The prefix of the names of a file's VAE."""
    return next(prefix for prefix in PREFIXES if not prefix or any(name.startswith(prefix) for name in names))


def is_other_network(name: str) -> bool:
    """Whether a name without a VAE prefix belongs to another network of a checkpoint."""
    return name.startswith((ldm.UNET_PREFIX, "cond_stage_model.", "conditioner.", "unet.", "text_encoder"))


def _has_ldm_names(names: Iterable[str]) -> bool:
    return any(re.match(r"(encoder|decoder)\.(down|up|mid)\.", name) for name in names)


def is_taesd(names: Iterable[str]) -> bool:
    """Whether a file is TAESD, a tiny preview autoencoder that cannot replace a VAE."""
    return any(_TAESD_KEY.match(name.removeprefix("taesd_")) for name in names)


def build_table(names: Iterable[str]) -> dict[str, str]:
    """LDM's table for a VAE with these names, from which its levels and layers are counted."""
    names = list(names)
    levels = len(ldm.find_indices(names, r"encoder\.down\.(\d+)\.") | ldm.find_indices(names, r"decoder\.up\.(\d+)\."))
    layers_per_block = len(ldm.find_indices(names, r"encoder\.down\.0\.block\.(\d+)\."))
    return ldm.build_vae_table(
        levels, layers_per_block or len(ldm.find_indices(names, r"decoder\.up\.0\.block\.(\d+)\.")) - 1
    )


def encode(weights: Weights, prefix: str = "") -> dict[str, Tensor]:
    """Canonical weights under LDM's names as in `vae-ft-mse-840000`: no prefix, attention as 1×1 convolutions."""
    names = [name.removeprefix("vae.") for name in weights.tensors]
    levels = len(ldm.find_indices(names, r"encoder\.down_blocks\.(\d+)\."))
    layers_per_block = len(ldm.find_indices(names, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."))
    ldm_names = translate_names(weights.tensors, invert_table(ldm.build_vae_table(levels, layers_per_block)))
    assert len(ldm_names) == len(weights.tensors), "a canonical name has no LDM name"
    return {
        prefix + ldm_name.removeprefix(f"{ldm.VAE_PREFIX}."): ldm.attention_linear_to_conv(
            ldm_name, weights.tensors[canonical_name]
        )
        for canonical_name, ldm_name in ldm_names.items()
    }
