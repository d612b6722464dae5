"""What the journeys share: a tiny model in a file, a place to try things in, a LoRA."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from places import Place
from torch import Tensor

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.formats import kohya
from tetrad.methods.lora import Lora


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    library.save_checkpoint(path, tiny.model(), tiny.weights().metadata)
    return path


@pytest.fixture
def place(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Place(tmp_path, model, monkeypatch, capsys)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def lora() -> dict[str, Tensor]:
    """A LoRA file's tensors, for the tiny model."""
    adapter = Lora(rank=2, text_encoder=False).attach(tiny.model(), generator(0, 0, "method"))
    return kohya.encode(adapter.weights())
