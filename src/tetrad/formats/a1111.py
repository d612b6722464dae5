"""Embeddings and hypernetworks as AUTOMATIC1111's web UI keeps them, and embeddings as kohya and diffusers do."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats.files import File
from tetrad.weights import Weights

Metadata = Mapping[str, str]
Decoded = tuple[Weights, list[str]]

ENCODERS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}  # of Stable Diffusion XL, as everybody calls them
ONE = "emb_params"  # the only tensor of a safetensors file for a family with one text encoder
VECTORS = "string_to_param."
SIDES = ("k", "v")  # of each width, in the order in which they stand in the file
NETWORK = re.compile(r"(\d+)\.([01])\.linear(\d*)\.(?:(\d+)\.)?(weight|bias)$")
OPTIMIZER = ("optimizer_state_dict.", "optimizer_name")  # beside the networks, in files of some versions
OLD_DROPOUT = 0.3  # of files that say that there is some, from before they said how much


def kind(names: Iterable[str]) -> str:
    """The kind of file that tensors of these names make, where it is one of this module's; else ""."""
    names = list(names)
    if any(NETWORK.match(name) for name in names):
        return "hypernetwork"
    if any(name.startswith(VECTORS) for name in names) or set(names) in ({ONE}, ENCODERS.keys()):
        return "embedding"
    return "embedding" if len(names) == 1 and re.fullmatch(r"<.+>|\*|[\w-]+", names[0]) else ""


def encode_safetensors(weights: Weights, metadata: Metadata) -> File:
    """An embedding under kohya's names, which every reader knows; its word and steps are in the metadata."""
    return File(named(weights), dict(metadata))


def encode_embedding(weights: Weights, metadata: Metadata) -> dict[str, Any]:
    """An embedding as the web UI writes it.  Always float32, as there."""
    tensors = {name: tensor.float() for name, tensor in named(weights).items()}
    about = {"name": metadata["name"], "step": step_of(metadata), **base_of(metadata)}
    if ONE not in tensors:  # two text encoders came later, and nobody asks for more than their vectors
        return {**tensors, **about}
    return {"string_to_token": {"*": 265}, "string_to_param": {"*": tensors[ONE]}, **about}


def named(weights: Weights) -> dict[str, Tensor]:
    """An embedding's vectors by the names of their files."""
    if len(weights.tensors) == 1:
        return {ONE: next(iter(weights.tensors.values()))}
    return {theirs: weights.tensors[ours] for theirs, ours in ENCODERS.items()}


def decode_embedding(file: File) -> Decoded:
    """An embedding of any of the known spellings.  E5106 where it holds several words, or vectors that are none."""
    found = {name: tensor for name, tensor in file.tensors.items() if name.startswith(VECTORS)} or file.tensors
    if ENCODERS.keys() <= found.keys():
        tensors, left = {ours: found[theirs] for theirs, ours in ENCODERS.items()}, found.keys() - ENCODERS.keys()
    elif len(found) == 1:
        tensors, left = {"text_encoder": next(iter(found.values()))}, set()
    else:
        words = ", ".join(name.removeprefix(VECTORS) for name in sorted(found)[:3])
        raise TetradError(
            "E5106", f"this embedding holds {len(found)} words ({words or 'none'}); a file has one, so part them"
        )
    tensors = {name: tensor if tensor.ndim > 1 else tensor[None] for name, tensor in tensors.items()}
    for tensor in tensors.values():
        if tensor.ndim != 2 or not len(tensor) or not tensor.is_floating_point() or not tensor.isfinite().all():
            raise TetradError(
                "E5106",
                "this embedding does not hold vectors of finite numbers, as many as its word has; it is damaged",
            )
    if len({len(tensor) for tensor in tensors.values()}) > 1:
        raise TetradError("E5106", "this embedding has more vectors for one text encoder than for the other")
    # The name of the file is the word, whatever stands inside: who renames the file renames the word.
    return Weights("embedding", tensors, {**file.metadata, "word": file.name}), sorted(left)


def encode_hypernetwork(weights: Weights, metadata: Metadata) -> dict[Any, Any]:
    """A hypernetwork as the web UI writes it, every field of it: readers differ in what a missing one means."""
    about = weights.metadata
    dropout = json.loads(about["dropout"])
    structure = [float(width) for width in json.loads(about["structure"])]
    positions = places(about)
    content: dict[Any, Any] = {}
    for width in sorted({int(name.split(".")[0]) for name in weights.tensors}):
        content[width] = tuple(
            {
                f"linear.{positions[layer]}.{end}": weights.tensors[f"{width}.{side}.{layer}.{end}"].float()
                for layer, end in layers(weights, f"{width}.{side}.")
            }
            for side in SIDES
        )
    return content | {
        "step": step_of(metadata),
        "name": metadata["name"],
        "layer_structure": structure,
        "activation_func": about["activation"],
        "is_layer_norm": json.loads(about["layer_norm"]),
        "weight_initialization": about.get("initialization", "Normal"),
        **base_of(metadata),
        "activate_output": json.loads(about["activate_output"]),
        "use_dropout": any(dropout),
        "dropout_structure": dropout or [0.0] * len(structure),
        "last_layer_dropout": bool(dropout and dropout[-2]),
        "optional_info": None,
    }


def layers(weights: Weights, start: str) -> Iterator[tuple[str, str]]:
    """Each tensor of one network as its layer and its end: ("layers.0", "weight")."""
    for name in weights.tensors:
        if name.startswith(start):
            layer, _, end = name.removeprefix(start).rpartition(".")
            yield layer, end


def decode_hypernetwork(file: File) -> Decoded:
    """A hypernetwork of the web UI, its oldest ones too, and the names that no layer of it answers to."""
    about = told(file.metadata)
    by_place = {place: layer for layer, place in places(about).items()}
    tensors, left = {}, []
    for name, tensor in file.tensors.items():
        if name.startswith(OPTIMIZER):
            continue
        found = NETWORK.match(name)
        width, side, old, place, end = found.groups() if found else ("", "0", "", None, "")
        # At first there were always two layers, called linear1 and linear2.
        layer = by_place.get(int(place) if place else int(old or 0) - 1)
        if found is None or layer is None or bool(place) == bool(old):
            left.append(name)
        else:
            tensors[f"{width}.{SIDES[int(side)]}.{layer}.{end}"] = tensor
    return Weights("hypernetwork", tensors, about), left


def told(metadata: Metadata) -> dict[str, str]:
    """What a file says of its networks, by our own names; for what it leaves out, the web UI's reading of that."""
    structure = read_list(metadata, "layer_structure") or [1.0, 2.0, 1.0]
    dropout = read_list(metadata, "dropout_structure")
    if len(structure) < 2 or (dropout and len(dropout) != len(structure)):
        raise TetradError(
            "E5108",
            f"this hypernetwork has layers like {structure} with dropouts like {dropout}, which do not go together",
        )
    if read_flag(metadata, "use_dropout") and not dropout:
        dropout = [0.0, *[OLD_DROPOUT] * (len(structure) - 2), 0.0]
        if not read_flag(metadata, "last_layer_dropout"):
            dropout[-2] = 0.0
    activation = metadata.get("activation_func", "null").lower()
    return {
        "structure": json.dumps(structure),
        "activation": "linear" if activation in ("null", "none", "") else activation,
        "initialization": metadata.get("weight_initialization", "Normal"),
        "layer_norm": json.dumps(read_flag(metadata, "is_layer_norm")),
        "activate_output": json.dumps(read_flag(metadata, "activate_output", default=True)),
        "dropout": json.dumps(dropout if any(dropout) else []),
        **{key: metadata[key] for key in ("step", "name") if key in metadata},
    }


def places(about: Metadata) -> dict[str, int]:
    """Where each layer stands in the file's sequence, in which dropouts and activations count as well."""
    found: dict[str, int] = {}
    steps, dropout = len(json.loads(about["structure"])) - 1, json.loads(about["dropout"])
    place = 0
    for number in range(steps):
        found[f"layers.{number}"] = place
        place += 1
        if about["activation"] != "linear" and (number < steps - 1 or json.loads(about["activate_output"])):
            found[f"activations.{number}"] = place
            place += 1
        if json.loads(about["layer_norm"]):
            found[f"norms.{number}"] = place
            place += 1
        place += bool(dropout and dropout[number + 1])
    return found


def read_list(metadata: Metadata, key: str) -> list[float]:
    """A list of numbers, empty where nothing is said; E5108 where something else is."""
    said = metadata.get(key, "null")
    try:
        return [float(number) for number in json.loads(said) or []]
    except (TypeError, ValueError) as error:
        raise TetradError(
            "E5108", f"this hypernetwork's {key} is {said[:40]}, not a list of numbers; it is damaged"
        ) from error


def read_flag(metadata: Metadata, key: str, default: bool = False) -> bool:
    """True or false; E5108 where something else is said."""
    said = metadata.get(key, "null")
    known = {"true": True, "1": True, "false": False, "0": False, "null": default}
    if said not in known:
        raise TetradError("E5108", f"this hypernetwork's {key} is {said[:40]}, not true or false; it is damaged")
    return known[said]


def step_of(metadata: Metadata) -> int:
    said = metadata.get("step") or metadata.get("ss_steps") or "0"
    return int(said) if said.isdigit() else 0


def base_of(metadata: Metadata) -> dict[str, str | None]:
    """The model that it was made with: its short hash and its name without the ending."""
    name = metadata.get("ss_sd_model_name", "")
    return {
        "sd_checkpoint": metadata.get("ss_new_sd_model_hash", "")[:10] or None,
        "sd_checkpoint_name": re.sub(r"\.(safetensors|ckpt)$", "", name) or None,
    }
