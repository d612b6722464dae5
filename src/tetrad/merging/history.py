"""The metadata of a merged checkpoint: its recipe, and the recipes of the models that it was made from."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from tetrad.documents import parse_json
from tetrad.formats import file_hashes, weight_files
from tetrad.formats.tensor_streams import TensorLayout
from tetrad.formats.tensor_writer import WORKERS, Compute, write_tensors
from tetrad.library.hashes import get_file_hash
from tetrad.merging.choices import METHODS, CheckpointMerge
from tetrad.merging.parents import EMA, Parent, part_of

RECIPE, MODELS = "sd_merge_recipe", "sd_merge_models"
GetHash = Callable[[Path], str]
Progress = Callable[[int], Callable[[], None]]  # given the number of tensors: a function to call after each
# What is true of the first model's file, and not of the merged one.
_STALE = ("modelspec.hash_sha256", "modelspec.title", "modelspec.date", "sshs_model_hash", "sshs_legacy_hash")


def write_with_history(
    out: Path,
    layouts: Mapping[str, TensorLayout],
    compute: Compute,
    describe: Callable[[GetHash], dict[str, str]],
    parents: Sequence[Path],
    on_start: Progress,
    workers: int = WORKERS,
) -> None:
    """Write a file whose metadata, which `describe` gives, name the sha256 of its parents.

    The hashes are computed while the tensors are, so that each parent is read from the disk once. Raises what
    `write_tensors` raises.
    """
    hashes = {path: _compute_hash(path) for path in parents}
    # Different ones, because they are keys, and as long as hashes.
    placeholders = {path: f"{number:064x}" for number, path in enumerate(parents)}
    finish = partial(describe, lambda path: hashes[path].result())
    write_tensors(out, layouts, compute, describe(placeholders.__getitem__), on_start(len(layouts)), finish, workers)


def _compute_hash(path: Path) -> Future[str]:
    """The hash of a file, computed in the background by a thread that a stopped process does not wait for."""
    found: Future[str] = Future()

    def compute() -> None:
        try:
            found.set_result(get_file_hash(path))
        except OSError as error:
            found.set_exception(weight_files.unreadable_error(path, error))

    Thread(target=compute, daemon=True).start()
    return found


def build_metadata(
    out: Path,
    parents: Sequence[Parent],
    base: Parent | None,
    weights: Sequence[float],
    blocks: Mapping[str, float],
    choices: CheckpointMerge,
    get_hash: GetHash = get_file_hash,
) -> dict[str, str]:
    """A's metadata, with `sd_merge_recipe` and `sd_merge_models` as A1111 writes them.

    Keys that A1111 does not have say what it cannot do: `weights` and `blocks`, by which the merge can be repeated.
    [https://github.com/AUTOMATIC1111/stable-diffusion-webui, modules/extras.py]
    """
    everyone = [*parents, *([base] if base else [])]
    hashes = [get_hash(parent.path) for parent in everyone]
    first = parents[0]
    recipe = {
        "type": "tetrad",
        "primary_model_hash": hashes[0],
        "secondary_model_hash": hashes[1],
        "tertiary_model_hash": hashes[2] if len(hashes) > 2 else None,
        "interp_method": METHODS[choices.method].title,
        "multiplier": weights[1],
        "save_as_half": choices.precision == "fp16",
        "custom_name": out.stem,
        "config_source": 0,
        "bake_in_vae": Path(choices.vae).name,
        "discard_weights": r"^model_ema\." if any(part_of(name) == EMA for name in first.names) else "",
        "is_inpainting": first.input_channels == 9,
        "is_instruct_pix2pix": first.input_channels == 8,
        "models": hashes,
        "base": hashes[-1] if base else None,
        "weights": list(weights),
        "blocks": dict(blocks),
        **{key: value for key, value in asdict(choices).items() if key != "vae"},
    }
    models: dict[str, Any] = {}
    for parent, file_hash in zip(everyone, hashes, strict=True):
        models |= describe_parent(parent.path, file_hash)
    return keep_metadata(weight_files.read_safetensors_metadata(first.path)) | {
        "format": "pt",
        "modelspec.title": out.stem,
        "modelspec.merged_from": ", ".join(parent.path.stem for parent in everyone),
        RECIPE: json.dumps(recipe),
        MODELS: json.dumps(models),
    }


def keep_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """A model's metadata without what is not true of a model that is made from it."""
    return {key: value for key, value in metadata.items() if key not in _STALE}


def describe_parent(path: Path, file_hash: str) -> dict[str, Any]:
    """A model's entry in `sd_merge_models`, and those of all models that it was made from itself."""
    metadata = weight_files.read_safetensors_metadata(path)
    entry = {
        "name": path.name,
        "legacy_hash": file_hashes.compute_file_legacy_hash(path),
        RECIPE: parse_object(metadata.get(RECIPE, "")) or None,
    }
    return {file_hash: entry} | parse_object(metadata.get(MODELS, ""))


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object in a file's metadata; empty where it is none."""
    try:
        value = parse_json(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
