"""Metadata of a LoRA that was computed from other files: kohya's entries, and the history of where it comes from."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from tetrad import __version__
from tetrad.library.hashes import get_file_hash
from tetrad.merging.history import MODELS, RECIPE, GetHash, describe_parent, parse_object
from tetrad.merging.ranks import is_spatial
from tetrad.methods.lora.settings import Lora
from tetrad.models.base import Model

_NETWORK_MODULE = "networks.lora"
_VARIES = "Dynamic"  # what kohya's own merges write where layers differ
# What a file says about its model and its use; the files that were merged must agree on it.
_SHARED_KEYS = (
    *("ss_base_model_version", "ss_v2", "ss_sd_model_name", "ss_sd_model_hash", "ss_new_sd_model_hash"),
    *("ss_vae_name", "ss_vae_hash", "ss_new_vae_hash", "ss_clip_skip", "ss_resolution", "ss_zero_terminal_snr"),
    *("modelspec.prediction_type", "modelspec.resolution", "modelspec.usage_hint", "modelspec.license"),
)
_TAGS_KEY, _TRIGGER_KEY = "ss_tag_frequency", "modelspec.trigger_phrase"


def inherit_metadata(parents: Sequence[Mapping[str, str]], model: Model) -> dict[str, str]:
    """What the metadata of all parents agree on, their trigger words and their tags."""
    entries = {key: value for key, value in model.metadata.items() if key.startswith("ss_")}
    entries["modelspec.sai_model_spec"] = "1.0.1"
    entries["modelspec.architecture"] = model.metadata["modelspec.architecture"] + Lora.artifact.architecture
    entries["modelspec.implementation"] = Lora.artifact.implementation
    for key in _SHARED_KEYS:
        values = {parent.get(key) for parent in parents} - {None}
        if len(values) == 1:
            entries[key] = str(values.pop())
    triggers = dict.fromkeys(parent[_TRIGGER_KEY] for parent in parents if parent.get(_TRIGGER_KEY))
    if triggers:
        entries[_TRIGGER_KEY] = ", ".join(triggers)
    tags: dict[str, Any] = {}
    for parent in parents:
        tags |= parse_object(parent.get(_TAGS_KEY, "{}"))
    if tags:
        entries[_TAGS_KEY] = json.dumps(tags, ensure_ascii=False)
    return entries


def describe_network(layers: Mapping[str, Mapping[str, Tensor]]) -> dict[str, str]:
    """kohya's entries about the ranks and alphas of a plain LoRA, by layer."""
    plain = [tensors for tensors in layers.values() if "down" in tensors]
    spatial = [tensors for tensors in plain if is_spatial(tensors["down"].shape)]
    other = [tensors for tensors in plain if not is_spatial(tensors["down"].shape)] or spatial
    arguments = {"conv_dim": _common_rank(spatial), "conv_alpha": _common_alpha(spatial)} if spatial else {}
    return {
        "ss_network_module": _NETWORK_MODULE,
        "ss_network_dim": _common_rank(other),
        "ss_network_alpha": _common_alpha(other),
        "ss_network_args": json.dumps(arguments),
    }


def _common_rank(layers: Sequence[Mapping[str, Tensor]]) -> str:
    ranks = {len(tensors["down"]) for tensors in layers}
    return str(ranks.pop()) if len(ranks) == 1 else _VARIES


def _common_alpha(layers: Sequence[Mapping[str, Tensor]]) -> str:
    alphas = {float(tensors["alpha"]) for tensors in layers}
    return f"{alphas.pop():g}" if len(alphas) == 1 else _VARIES


def describe_origin(
    command: str,
    parents: Mapping[Path, Mapping[str, Any]],
    settings: Mapping[str, Any],
    get_hash: GetHash = get_file_hash,
) -> dict[str, str]:
    """The history, as A1111 writes that of checkpoints: a recipe, and all files that the result was made of.

    The recipe says what was done with each file, by its hash; a diffusers folder has none.
    """
    hashes = {path: get_hash(path) if path.is_file() else "" for path in parents}
    files = [{"name": path.name, "hash": hashes[path], **role} for path, role in parents.items()]
    models: dict[str, Any] = {}
    for path, file_hash in hashes.items():
        models |= describe_parent(path, file_hash) if file_hash else {}
    recipe = {"type": "tetrad", "command": command, "version": __version__, **settings, "files": files}
    return {
        RECIPE: json.dumps(recipe, ensure_ascii=False),
        MODELS: json.dumps(models, ensure_ascii=False),
        "modelspec.merged_from": ", ".join(path.stem for path in parents),
        "modelspec.date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
