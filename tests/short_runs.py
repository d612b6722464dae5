"""What tests of whole runs have in common: a tiny model with noise images, and a recipe from dotted settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tiny
from PIL import Image

from tetrad.settings import Recipe, build_recipe
from tetrad.settings.toml import put

QUICK = {
    "model": "tiny.safetensors",
    "data.images": "images",
    "data.trigger_word": "zkr",
    "data.resolution": 64,
    "method.kind": "lora",
}


def save_model_and_images(path: Path, image_count: int) -> Path:
    """A checkpoint `tiny.safetensors` and a folder `images` of noise, for `QUICK`."""
    tiny.save_shallow_checkpoint(path / "tiny.safetensors")
    (path / "images").mkdir()
    for number in range(image_count):
        Image.effect_noise((64, 64), 40 + number).convert("RGB").save(path / "images" / f"{number}.png")
    return path


def make_recipe(out: Path, settings: Mapping[str, Any]) -> Recipe:
    """A recipe from settings by their whole names, which writes its run to `out`."""
    values: dict[str, Any] = {}
    for key, value in (settings | {"save.out": str(out)}).items():
        put(values, key, value)
    return build_recipe(values)
