"""What other trainers' samples have beside their prompt; here all previews share it."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any


def _round_side(value: Any) -> int:
    return int(value) // 8 * 8


_TYPES: Mapping[str, Callable[[Any], Any]] = {
    "negative_prompt": str,
    "width": _round_side,
    "height": _round_side,
    "seed": int,
    "steps": int,
    "cfg_scale": float,
}


def convert_sample(sample: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The settings of previews; `names` gives them for a sample's keys. Empty and wrong values are left out."""
    settings: dict[str, Any] = {}
    for key, name in names.items():
        with suppress(TypeError, ValueError):
            if (value := sample.get(key)) not in (None, ""):
                settings[f"sample.{name}"] = _TYPES[name](value)
    return settings
