"""Build plans of runs on a tiny model and on photos without files."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import tiny
import torch

from tetrad.data.captions.captions import Captions
from tetrad.data.dataset import Photo
from tetrad.data.discover.subsets import Subset
from tetrad.estimate.forecast import MemoryForecast
from tetrad.images.examine import ImageInfo
from tetrad.images.measure import Measures
from tetrad.models.base import Model
from tetrad.models.device import DeviceSpec
from tetrad.run.dataset import Dataset
from tetrad.run.plan import Plan
from tetrad.run.resolve import Facts, resolve
from tetrad.settings import Recipe, build_recipe
from tetrad.settings.learning_rate import parse_learning_rate as rate
from tetrad.settings.toml import put
from tetrad.weights import Weights

__all__ = ["Weights", "dataset", "photos", "plan", "rate", "recipe", "resolved", "shared"]
CPU = DeviceSpec(torch.device("cpu"), torch.float32)


@cache
def shared() -> Model:
    """A model for tests that do not change it."""
    return tiny.build_model(is_shallow=True)


def recipe(**settings: Any) -> Recipe:
    """A recipe from settings like `train__steps=10`; the trigger word is zkr by default, and it is not judged."""
    values: dict[str, Any] = {"data": {"trigger_word": "zkr"}, "judge": {"scores": "off"}}
    for key, value in settings.items():
        put(values, key.replace("__", "."), value)
    return build_recipe(values)


def photos(
    captions: Sequence[str], size: tuple[int, int] = (64, 64), source: str = ".txt", **subset: Any
) -> list[Photo]:
    """A photo for each caption, all with the same size and subset."""
    group = Subset(**subset)
    return [
        Photo(
            Path(f"{number}.png"),
            str(number),
            Captions(caption, settings=group.caption_settings),
            source,
            group,
            ImageInfo(*size, b"", Measures(0.5, 0.2, 0.3)),
        )
        for number, caption in enumerate(captions)
    ]


def dataset(found: Sequence[Photo], trigger_word: str = "zkr", class_word: str = "") -> Dataset:
    return Dataset(found, trigger_word, class_word, resolution=0, batch_size=0)


def resolved(
    asked: Recipe,
    found: Sequence[Photo] | None = None,
    model: Model | None = None,
    start: Weights | None = None,
) -> tuple[Plan, MemoryForecast | None]:
    """The plan of a recipe and its memory estimate; with eight photos if none are given."""
    of_data = dataset(photos(["a zkr"] * 8) if found is None else found, asked.data.trigger_word, asked.data.class_word)
    return resolve(asked, Facts(of_data, model or shared(), start, CPU))


def plan(
    asked: Recipe,
    found: Sequence[Photo] | None = None,
    model: Model | None = None,
    start: Weights | None = None,
) -> Plan:
    return resolved(asked, found, model, start)[0]
