"""Each folder of a run has repeats, words, captions, masks, resolution and loss weight of its own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from commands import run
from PIL import Image

from tetrad.cli.train import as_settings
from tetrad.data.batches import TrainingSample
from tetrad.data.latent_cache import LatentCache
from tetrad.errors import TetradError
from tetrad.run.class_images import check_folder
from tetrad.run.dataset import encode_samples, load_dataset
from tetrad.run.resolve_data import resolve_data
from tetrad.settings import build_recipe


def make_folder(path: Path, caption: str = "", color: str = "red") -> Path:
    path.mkdir(parents=True)
    Image.new("RGB", (64, 64), color).save(path / "a.png")
    if caption:
        (path / "a.txt").write_text(caption)
    return path


def load(first: Path, *folders: dict[str, Any], **data: Any) -> list[TrainingSample]:
    """The samples of a run of these folders, in their order."""
    recipe = build_recipe({"data": {"images": str(first), "resolution": 64, **data, "folders": list(folders)}})
    cache = LatentCache(first.parent / "cache")
    loading = load_dataset(recipe.data, False, "", cache)
    try:
        while True:
            next(loading)
    except StopIteration as finished:
        dataset = finished.value
    plan = resolve_data(recipe, dataset, 64)
    return list(encode_samples(plan, tiny.build_model(is_shallow=True), dataset.photos, cache))


def test_a_folder_has_settings_of_its_own_and_else_those_of_the_run(tmp_path: Path) -> None:
    first, second = make_folder(tmp_path / "one", "a cat"), make_folder(tmp_path / "two", "x, y", "blue")
    masks = make_folder(tmp_path / "masks")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    mask.save(masks / "a.png")
    plain, own, of_class = load(
        first,
        {
            **{"images": str(second), "repeats": 3, "trigger_word": "qqq", "resolution": 128, "weight": 0.25},
            **{"flip": False, "masks": str(masks), "captions": {"prefix": "old,"}},
        },
        {"images": str(make_folder(tmp_path / "dogs", color="green")), "class_images": True, "class_word": "dog"},
        **{
            "trigger_word": "zkr",
            "repeats": 2,
            "flip": True,
            "captions": {"suffix": "new"},
            "class_images": {"weight": 0.5},
        },
    )
    assert plain.captions.default_caption == "zkr, a cat new"
    assert (plain.repeats, plain.weight, len(plain.distributions), plain.masks) == (2, 1.0, 2, ())
    assert own.captions.default_caption == "qqq, old, x, y"
    assert (own.repeats, own.weight, len(own.distributions)) == (3, 0.25, 1)
    assert own.masks and own.shape[-1] == 2 * plain.shape[-1]
    assert of_class.is_class_image and of_class.weight == 0.5
    assert (of_class.captions.default_caption, of_class.repeats) == ("dog", 2)


def test_the_name_of_a_folder_says_its_repeats_unless_they_are_given(tmp_path: Path) -> None:
    first, second = make_folder(tmp_path / "4_zkr"), make_folder(tmp_path / "5_zkr", color="blue")
    assert [sample.repeats for sample in load(first, {"images": str(second)})] == [4, 5]
    assert [sample.repeats for sample in load(first, {"images": str(second), "repeats": 1})] == [4, 1]


def test_a_folder_that_is_not_there_or_is_used_twice_is_named(tmp_path: Path) -> None:
    first = make_folder(tmp_path / "one")
    missing = run("train", "lora", first, tmp_path / "nowhere", "--model", "builtin", "--steps", "1")
    assert missing.returncode != 0 and "E4001" in missing.stderr and "nowhere" in missing.stderr
    data = build_recipe({"data": {"images": str(first)}}).data
    of_class = build_recipe({"data": {"folders": [{"images": str(first / "in"), "class_images": True}]}}).data.folders
    with pytest.raises(TetradError, match="E3156"):
        check_folder(replace(data, folders=of_class))


def test_folders_of_the_command_line_replace_those_of_a_recipe() -> None:
    assert as_settings(["a", "b"]) == {"data.images": "a", "data.folders": [{"images": "b"}]}
    assert as_settings(["a"]) == {"data.images": "a", "data.folders": []}
    assert as_settings([]) == {}
