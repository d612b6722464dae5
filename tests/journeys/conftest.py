"""Fixtures of the journeys: a tiny model in a file, a workspace, a LoRA."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from torch import Tensor
from workspace import Workspace

from tetrad.diffusion.randomness import generator
from tetrad.formats import kohya
from tetrad.methods import Lora


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    tiny.save_shallow_checkpoint(path)
    return path


@pytest.fixture
def workspace(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Workspace]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Workspace(tmp_path, model, monkeypatch, capsys)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def lora() -> dict[str, Tensor]:
    """A LoRA file's tensors, for the tiny model."""
    adapter = tiny.attach(
        Lora(rank=2, text_encoder=False), tiny.build_model(is_shallow=True), generator(0, 0, "method")
    )
    return kohya.encode(adapter.weights())
