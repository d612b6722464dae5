"""Embeddings in the formats of AUTOMATIC1111's web UI, kohya and diffusers; hypernetworks in the web UI's format."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.formats.weight_files import WeightFile
from tetrad.locales import _
from tetrad.methods.hypernetwork.settings import TENSOR
from tetrad.methods.textual_inversion.settings import KOHYA, WEB_UI
from tetrad.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

Metadata = Mapping[str, str]
_DecodeResult = tuple[Weights, list[str]]  # the weights, and the keys of the file that match nothing

# The keys of Stable Diffusion XL embeddings, the same in every tool.
_TEXT_ENCODER_PARTS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
_KEY_AND_VALUE = ("k", "v")  # the two networks of each width, in the file's order
_OPTIMIZER_PREFIXES = ("optimizer_state_dict.", "optimizer_name")  # some versions save these with the networks
_LEGACY_DROPOUT = 0.3  # for old files that say dropout is used, but not how much


def encode_embedding_safetensors(weights: Weights, metadata: Metadata) -> WeightFile:
    """An embedding under kohya's names, which every tool reads; trigger word and steps are in the metadata."""
    return WeightFile(_map_to_file_keys(weights), dict(metadata))


def encode_embedding_pt(weights: Weights, metadata: Metadata) -> dict[str, Any]:
    """An embedding as the web UI writes it, always in float32."""
    tensors = {name: tensor.float() for name, tensor in _map_to_file_keys(weights).items()}
    training_info = {"name": metadata["name"], "step": _parse_step(metadata), **_build_base_model_fields(metadata)}
    if KOHYA not in tensors:  # for two text encoders, readers need only the vectors
        return {**tensors, **training_info}
    return {"string_to_token": {"*": 265}, "string_to_param": {"*": tensors[KOHYA]}, **training_info}


def encode_bundled_embedding(weights: Weights) -> dict[str, Tensor]:
    """An embedding under the names that A1111 expects of one inside a LoRA."""
    return {f"{WEB_UI}*" if name == KOHYA else name: tensor for name, tensor in _map_to_file_keys(weights).items()}


def _map_to_file_keys(weights: Weights) -> dict[str, Tensor]:
    """An embedding's vectors by the keys that files use."""
    if len(weights.tensors) == 1:
        return {KOHYA: next(iter(weights.tensors.values()))}
    return {file_key: weights.tensors[part] for file_key, part in _TEXT_ENCODER_PARTS.items()}


def decode_embedding(file: WeightFile) -> _DecodeResult:
    """An embedding in any of the known formats.  E5106 if it holds several embeddings, or no usable vectors."""
    vectors = {name: tensor for name, tensor in file.tensors.items() if name.startswith(WEB_UI)} or file.tensors
    if _TEXT_ENCODER_PARTS.keys() <= vectors.keys():
        tensors, unmatched_keys = (
            {part: vectors[file_key] for file_key, part in _TEXT_ENCODER_PARTS.items()},
            vectors.keys() - _TEXT_ENCODER_PARTS.keys(),
        )
    elif len(vectors) == 1:
        tensors, unmatched_keys = {"text_encoder": next(iter(vectors.values()))}, set()
    elif not vectors:
        raise TetradError("E5106", _("this file contains no embedding; give a file with one"))
    else:
        raise TetradError(
            "E5106",
            _("this file contains {count} embeddings ({names}); give a file with only one"),
            count=len(vectors),
            names=", ".join(name.removeprefix(WEB_UI) for name in sorted(vectors)[:3]),
        )
    tensors = {name: tensor if tensor.ndim > 1 else tensor[None] for name, tensor in tensors.items()}
    for tensor in tensors.values():
        if tensor.ndim != 2 or not tensor.numel() or not tensor.is_floating_point() or not tensor.isfinite().all():
            raise TetradError(
                "E5106",
                _("this embedding must hold one row of finite numbers per vector; the file is damaged"),
            )
    if len({len(tensor) for tensor in tensors.values()}) > 1:
        raise TetradError(
            "E5106", _("this embedding has different numbers of vectors for its two text encoders; the file is damaged")
        )
    # The trigger word is the file's name, whatever the file contains: renaming the file renames the trigger word.
    return Weights("embedding", tensors, {**file.metadata, "word": file.stem}), sorted(unmatched_keys)


def encode_hypernetwork(weights: Weights, metadata: Metadata) -> dict[Any, Any]:
    """A hypernetwork as the web UI writes it, with every field, since tools disagree on what a missing one means."""
    settings = weights.metadata
    dropout = parse_json(settings["dropout"])
    structure = [float(width) for width in parse_json(settings["structure"])]
    positions = _compute_layer_positions(settings)
    content: dict[Any, Any] = {}
    for width in sorted({int(name.split(".")[0]) for name in weights.tensors}):
        content[width] = tuple(
            {
                f"linear.{position}.{parameter_name}": (
                    weights.tensors[f"{width}.{target}.{layer}.{parameter_name}"].float()
                )
                for position, layer, parameter_name in _list_layer_parameters(weights, f"{width}.{target}.", positions)
            }
            for target in _KEY_AND_VALUE
        )
    return content | {
        "step": _parse_step(metadata),
        "name": metadata["name"],
        "layer_structure": structure,
        "activation_func": settings["activation"],
        "is_layer_norm": parse_json(settings["layer_norm"]),
        "weight_initialization": settings.get("initialization", "Normal"),
        **_build_base_model_fields(metadata),
        "activate_output": parse_json(settings["activate_output"]),
        # A1111 goes by the structure below; ComfyUI would drop values while it generates.
        "use_dropout": False,
        "dropout_structure": dropout or [0.0] * len(structure),
        "last_layer_dropout": bool(dropout and dropout[-2]),
        "optional_info": None,
    }


def _list_layer_parameters(weights: Weights, prefix: str, positions: Mapping[str, int]) -> list[tuple[int, str, str]]:
    """The position, layer and parameter name of each tensor of one network: (0, "layers.0", "weight").

    They are in the order of the layers, because ComfyUI rebuilds the network from the order of the tensors in a file.
    """
    parameters = []
    for name in weights.tensors:
        if name.startswith(prefix):
            layer, _dot, parameter_name = name.removeprefix(prefix).rpartition(".")
            parameters.append((positions[layer], layer, parameter_name))
    return sorted(parameters, key=lambda parameter: parameter[0])


def decode_hypernetwork(file: WeightFile) -> _DecodeResult:
    """A hypernetwork of any version of the web UI, and the keys that match no layer."""
    settings = parse_hypernetwork_metadata(file.metadata)
    layers_by_position = {position: layer for layer, position in _compute_layer_positions(settings).items()}
    tensors, unmatched_keys = {}, []
    for name, tensor in file.tensors.items():
        if name.startswith(_OPTIMIZER_PREFIXES):
            continue
        match = TENSOR.match(name)
        width, target, old_number, position, parameter_name = match.groups() if match else ("", "0", "", None, "")
        # The first version always had two layers, named linear1 and linear2.
        layer = layers_by_position.get(int(position) if position else int(old_number or 0) - 1)
        if match is None or layer is None or bool(position) == bool(old_number):
            unmatched_keys.append(name)
        else:
            tensors[f"{width}.{_KEY_AND_VALUE[int(target)]}.{layer}.{parameter_name}"] = tensor
    return Weights("hypernetwork", tensors, settings), unmatched_keys


def parse_hypernetwork_metadata(metadata: Metadata) -> dict[str, str]:
    """A file's network settings under our own names; missing ones as the web UI assumes them."""
    structure = _parse_number_list(metadata, "layer_structure") or [1.0, 2.0, 1.0]
    dropout = _parse_number_list(metadata, "dropout_structure")
    if len(structure) < 2:
        raise TetradError(
            "E5108",
            _("this hypernetwork's layer_structure is {structure}, but it needs two numbers or more; it is damaged"),
            structure=structure,
        )
    if dropout and len(dropout) != len(structure):
        raise TetradError(
            "E5108",
            _(
                "this hypernetwork's dropout_structure {dropout} is not as long as its layer_structure {structure}; it"
                " is damaged"
            ),
            dropout=dropout,
            structure=structure,
        )
    if _parse_flag(metadata, "use_dropout") and not dropout:
        dropout = [0.0, *[_LEGACY_DROPOUT] * (len(structure) - 2), 0.0]
        if not _parse_flag(metadata, "last_layer_dropout"):
            dropout[-2] = 0.0
    activation = metadata.get("activation_func", "null").lower()
    return {
        "structure": json.dumps(structure),
        "activation": "linear" if activation in ("null", "none", "") else activation,
        "initialization": metadata.get("weight_initialization", "Normal"),
        "layer_norm": json.dumps(_parse_flag(metadata, "is_layer_norm")),
        "activate_output": json.dumps(_parse_flag(metadata, "activate_output", default=True)),
        "dropout": json.dumps(dropout if any(dropout) else []),
        **{key: metadata[key] for key in ("step", "name") if key in metadata},
    }


def _compute_layer_positions(settings: Metadata) -> dict[str, int]:
    """Each layer's position in the file's nn.Sequential, where dropouts and activations count too."""
    positions: dict[str, int] = {}
    layer_count, dropout = len(parse_json(settings["structure"])) - 1, parse_json(settings["dropout"])
    position = 0
    for number in range(layer_count):
        positions[f"layers.{number}"] = position
        position += 1
        if settings["activation"] != "linear" and (number < layer_count - 1 or parse_json(settings["activate_output"])):
            positions[f"activations.{number}"] = position
            position += 1
        if parse_json(settings["layer_norm"]):
            positions[f"norms.{number}"] = position
            position += 1
        position += bool(dropout and dropout[number + 1])
    return positions


def _parse_number_list(metadata: Metadata, key: str) -> list[float]:
    """A list of numbers, empty if the entry is missing; E5108 if it is something else."""
    text = metadata.get(key, "null")
    try:
        return [float(number) for number in parse_json(text) or []]
    except (TypeError, ValueError) as error:
        raise TetradError(
            "E5108",
            _("this hypernetwork's {key} is {value}, not a list of numbers; it is damaged"),
            key=key,
            value=text[:40],
        ) from error


def _parse_flag(metadata: Metadata, key: str, default: bool = False) -> bool:
    """True or false; E5108 if the entry is something else."""
    text = metadata.get(key, "null")
    values = {"true": True, "1": True, "false": False, "0": False, "null": default}
    if text not in values:
        raise TetradError(
            "E5108",
            _("this hypernetwork's {key} is {value}, not true or false; it is damaged"),
            key=key,
            value=text[:40],
        )
    return values[text]


def _parse_step(metadata: Metadata) -> int:
    text = metadata.get("step") or metadata.get("ss_steps") or "0"
    return int(text) if text.isdigit() else 0


def _build_base_model_fields(metadata: Metadata) -> dict[str, str | None]:
    """The base model it was trained on: short hash, and name without the suffix; from kohya's entries or A1111's."""
    name = metadata.get("ss_sd_model_name", metadata.get("sd_checkpoint_name", "null"))
    short_hash = metadata.get("ss_new_sd_model_hash", metadata.get("sd_checkpoint", "null"))
    return {
        "sd_checkpoint": short_hash[:10].removeprefix("null") or None,
        "sd_checkpoint_name": re.sub(r"^null$|\.(safetensors|ckpt)$", "", name) or None,
    }
