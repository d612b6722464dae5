"""Runs of the same tiny model many times: its file is opened once, and copied for the runs after that."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tetrad import library
from tetrad.models.base import Model
from tetrad.models.copying import copy_model
from tetrad.weights import Weights

_OPENED: dict[tuple[object, ...], Model] = {}


@pytest.fixture(autouse=True)
def copied_models() -> Iterator[None]:
    original = library.load_model

    def load_model(name: str, prediction: str = "", vae: Weights | None = None) -> Model:
        path = Path(name)
        if vae is not None or not path.is_file():
            return original(name, prediction, vae)
        state = path.stat()
        key = path.resolve(), state.st_mtime_ns, state.st_size, prediction
        if key not in _OPENED:
            _OPENED[key] = original(name, prediction)
        return copy_model(_OPENED[key], torch.clone)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "load_model", load_model)
        yield
