"""Metadata of a LoRA that was computed from other files: kohya's entries, and the history of where it comes from."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from tetrad import __version__
from tetrad.documents import parse_json
from tetrad.library.hashes import get_file_hash
from tetrad.merging.ranks import is_spatial
from tetrad.models.base import Model

HISTORY_KEY = "tetrad.history"  # JSON: the command, its settings, and its files with theirs
_MAX_HISTORY = 200_000  # characters; an older history than that is left out
_NETWORK_MODULE = "networks.lora"
_VARIES = "Dynamic"  # what kohya's own merges write where layers differ
# What a file says about its model and its use; the files that were merged must agree on it.
_SHARED_KEYS = (
    *("ss_base_model_version", "ss_v2", "ss_sd_model_name", "ss_sd_model_hash", "ss_new_sd_model_hash"),
    *("ss_vae_name", "ss_vae_hash", "ss_new_vae_hash", "ss_clip_skip", "ss_resolution", "ss_zero_terminal_snr"),
    *("modelspec.sai_model_spec", "modelspec.architecture", "modelspec.implementation", "modelspec.license"),
    *("modelspec.prediction_type", "modelspec.resolution", "modelspec.usage_hint"),
)
_TAGS_KEY, _TRIGGER_KEY = "ss_tag_frequency", "modelspec.trigger_phrase"


def inherit_metadata(parents: Sequence[Mapping[str, str]], model: Model) -> dict[str, str]:
    """What the metadata of all parents agree on, their trigger words and their tags."""
    entries = {key: value for key, value in model.metadata.items() if key.startswith("ss_")}
    for key in _SHARED_KEYS:
        values = {parent.get(key) for parent in parents} - {None}
        if len(values) == 1:
            entries[key] = str(values.pop())
    triggers = dict.fromkeys(parent[_TRIGGER_KEY] for parent in parents if parent.get(_TRIGGER_KEY))
    if triggers:
        entries[_TRIGGER_KEY] = ", ".join(triggers)
    tags: dict[str, Any] = {}
    for parent in parents:
        tags |= _read_object(parent.get(_TAGS_KEY, "{}"))
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
    command: str, parents: Sequence[tuple[Path, Mapping[str, Any], Mapping[str, str]]], settings: Mapping[str, Any]
) -> dict[str, str]:
    """The history: a command, its files with what was done with each and their own metadata, and its settings."""
    files = []
    for path, role, metadata in parents:
        file = {"name": path.name, **({"sha256": get_file_hash(path)} if path.is_file() else {}), **role}
        if history := _read_object(metadata.get(HISTORY_KEY, "{}")):
            file["history"] = history
        files.append(file)
    history = {"command": command, "tetrad": __version__, **settings, "files": files}
    text = json.dumps(history, ensure_ascii=False)
    if len(text) > _MAX_HISTORY:
        text = json.dumps({**history, "files": [{**file, "history": "…"} for file in files]}, ensure_ascii=False)
    return {
        HISTORY_KEY: text,
        "modelspec.merged_from": ", ".join(path.name for path, _role, _metadata in parents),
        "modelspec.date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _read_object(text: str) -> dict[str, Any]:
    """A JSON object from metadata; an empty one where other programs wrote something else."""
    try:
        value = parse_json(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
