"""What is measured: every method on the built-in model, and on a wider model where arithmetic dominates."""

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
    """The cases by their names: `lora` on the built-in model, `wide-lora` on the wider one, which lies in `folder`."""
    wide, layout = str(folder / "wide.safetensors"), "SD1 layout 128-256-512-512, 256 px"
    small_cases = {method: Case(f"{method}, built-in model, batch 4", method, "builtin", 128, 4) for method in METHODS}
    wide_cases = {f"wide-{method}": Case(f"{method}, {layout}, batch 1", method, wide, 256, 1) for method in METHODS}
    return small_cases | wide_cases


SETTINGS: dict[str, dict[str, object]] = {"lora": {"text_encoder": False}}  # U-Net only, as most LoRAs are trained


def build_method(method: str) -> MethodSettings:
    return METHODS[method](**SETTINGS.get(method, {})).with_defaults("zkr", 8)
