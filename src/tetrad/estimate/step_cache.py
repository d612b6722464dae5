"""Keep the counts of a step in the cache folder: counting one takes seconds where a model is large."""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from tetrad import __version__
from tetrad.cache_location import get_cache_folder
from tetrad.documents import parse_json, read_text_file
from tetrad.estimate.step_cost import StepCost, measure_step_cost
from tetrad.formats.atomic_write import replace_file
from tetrad.methods.settings import MethodSettings
from tetrad.models.base import Model

_FORM = 5  # increase it when a step is counted in another way


def recall_step_cost(model: Model, method: MethodSettings, width: int, height: int, batch_size: int = 1) -> StepCost:
    """`measure_step_cost`, or what it gave before for the same layers, method and size.

    A cache that cannot be read or written costs only the time.
    """
    path = get_cache_folder() / "steps" / f"{_identify_step(model, method, (width, height, batch_size))}.json"
    try:
        return _parse_cost(parse_json(read_text_file(path)))
    except (OSError, ValueError, TypeError, AttributeError):
        cost = measure_step_cost(model, method, width, height, batch_size)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(asdict(cost)).encode(), flushes=False)
    return cost


def _identify_step(model: Model, method: MethodSettings, size: tuple[int, int, int]) -> str:
    """A hash of all that the counts depend on: layers by name and shape, method, size, and the code that counts."""
    layers = [
        (part, name, tuple(tensor.shape))
        for part, network in sorted(model.parts().items())
        for name, tensor in network.state_dict(keep_vars=True).items()
    ]
    code = (_FORM, __version__, torch.__version__, version("diffusers"), version("transformers"))
    values = (code, model.family, model.text_encoding, layers, method, size)
    return hashlib.sha256(repr(values).encode()).hexdigest()


def _parse_cost(values: dict[str, Any]) -> StepCost:
    """The counts of a file.  ValueError or TypeError where it is not what was written."""
    shapes = tuple(torch.Size(shape) for shape in values.pop("trainable_shapes"))
    cost = StepCost(trainable_shapes=shapes, **values)
    if not all(isinstance(value, int) and value >= 0 for value in values.values()):
        raise ValueError("not a count")
    return cost
