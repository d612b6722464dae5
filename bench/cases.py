"""What is measured: every method on the built-in model, and a LoRA on a model wide enough for its own arithmetic."""

from dataclasses import dataclass
from pathlib import Path

from tetrad.methods import METHODS
from tetrad.methods.base import Method


@dataclass(frozen=True)
class Case:
    title: str
    kind: str
    model: str  # a name or a file
    side: int  # pixels
    batch_size: int


def cases(folder: Path) -> dict[str, Case]:
    small = {kind: Case(f"{kind}, built-in model, batch 4", kind, "builtin", 128, 4) for kind in METHODS}
    wide = Case("lora, SD1 layout 128-256-512-512, 256 px, batch 1", "lora", str(folder / "wide.safetensors"), 256, 1)
    return {**small, "wide": wide}


SETTINGS: dict[str, dict[str, object]] = {"lora": {"text_encoder": False}}  # of the U-Net alone, as it is mostly run


def method(kind: str) -> Method:
    return METHODS[kind](**SETTINGS.get(kind, {})).decided("zkr", 8)
