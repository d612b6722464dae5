"""torch's pickles: read without running anything that is in them, written so that the strictest reader takes them."""

import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tetrad.errors import TetradError

Plain = Mapping[Any, Any]  # of numbers, words, lists, tensors, and more such mappings
DEEPEST, MOST = 6, 200_000  # containers in containers, values in all; honest files have 4 and some thousands


class Inert:
    """Stands for a class that an old checkpoint mentions and nobody needs; nothing of the real one is run."""

    def __init__(self, *_: object, **__: object) -> None: ...
    def __setstate__(self, _: object) -> None: ...


class Kept(dict[str, Any]):
    """Stands for a ParameterDict, in which the first embeddings kept their vectors."""

    def __setstate__(self, state: object) -> None:
        self.update(state.get("_parameters", {}) if isinstance(state, dict) else {})


# Honest old checkpoints carry these beside their tensors. Anything else that a pickle asks for is refused.
HARMLESS: list[Any] = [
    (Inert, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
    (Inert, "pytorch_lightning.callbacks.ModelCheckpoint"),
    (Inert, "numpy.core.multiarray.scalar"),
    (Inert, "numpy._core.multiarray.scalar"),
    (Inert, "numpy.dtype"),
    (Kept, "torch.nn.modules.container.ParameterDict"),
]
# What torch says of a pickle that asks for more than tensors, and not of one that is damaged.
FORBIDDEN = re.compile(r"GLOBAL|unrecognized function|Can only (create|build)")


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A pickle's tensors and its plain values (as JSON, words as they are), named by the way to them: "768.0.linear".

    Raises E5002 where the file is damaged, E5010 where it asks for more than tensors.
    """
    try:
        with torch.serialization.safe_globals(HARMLESS):
            content = torch.load(path, map_location="cpu", weights_only=True)
        content = content.get("state_dict", content) if isinstance(content, dict) else {}
        found = dict(flat(content)) if isinstance(content, dict) else {}
    except Exception as error:  # torch raises a dozen kinds here; whichever it is, the file was not read
        if FORBIDDEN.search(str(error)):
            reason = (
                "it asks for more than tensors, so it could run a program; use the .safetensors version of this model"
            )
            raise TetradError("E5010", f"{path} was not opened: {reason}") from error
        raise TetradError("E5002", f"{path} is cut off or no model file; get it again from where it came") from error
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in found.items() if isinstance(value, str)}


def flat(content: Plain) -> Iterator[tuple[str, Tensor | str]]:
    """Everything in nested containers by its dotted path; ValueError where there is absurdly much of it."""
    waiting: list[tuple[str, Any, int]] = [(str(key), value, 1) for key, value in content.items()]
    for number, (name, value, depth) in enumerate(waiting):
        if number >= MOST or depth > DEEPEST:
            raise ValueError("more values than a model file has")
        if isinstance(value, Tensor | str):
            yield name, value
        elif value is None or isinstance(value, bool | int | float) or plain_list(value):
            yield name, json.dumps(value)
        elif isinstance(value, dict):
            waiting += [(f"{name}.{key}", item, depth + 1) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{name}.{index}", item, depth + 1) for index, item in enumerate(value)]


def plain_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, bool | int | float | str) for item in value)


def serialized(content: Plain) -> bytes:
    """A pickle in torch's old container, which loaders that check every name in the new one still take.

    Tensors are copied to the CPU, each with no more memory than it needs, and everything else must be plain Python:
    the strictest reader, A1111's, knows neither devices nor dtypes nor anybody's classes.
    """
    opened = io.BytesIO()
    torch.save(plain(content), opened, _use_new_zipfile_serialization=False)
    return opened.getvalue()


def plain(value: Any) -> Any:
    """The same value with tensors ready for a file; TypeError for what no such file may hold."""
    if isinstance(value, Tensor):
        return value.detach().cpu().contiguous().clone()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"{type(value).__name__} has no place in a model file")
