"""What is measured: every method on the built-in model, and a LoRA on a wider model where arithmetic dominates."""

from dataclasses import dataclass
from pathlib import Path

from tetrad.methods import METHODS, MethodSettings


@dataclass(frozen=True)
class Case:
    title: str
    method: str  # a name in METHODS
    model: str  # "builtin" or a file
    resolution: int  # pixels
    batch_size: int


def build_cases(folder: Path) -> dict[str, Case]:
    small = {method: Case(f"{method}, built-in model, batch 4", method, "builtin", 128, 4) for method in METHODS}
    wide = Case("lora, SD1 layout 128-256-512-512, 256 px, batch 1", "lora", str(folder / "wide.safetensors"), 256, 1)
    return {**small, "wide": wide}


SETTINGS: dict[str, dict[str, object]] = {"lora": {"text_encoder": False}}  # U-Net only, as most LoRAs are trained


def build_method(method: str) -> MethodSettings:
    return METHODS[method](**SETTINGS.get(method, {})).with_defaults("zkr", 8)
