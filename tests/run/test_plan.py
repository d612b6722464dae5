"""The length of a run in steps, epochs, images and repeats; and the plan as a TOML file."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plans
import pytest
import torch
from PIL import Image

from tetrad.data.batches import Batches, TrainingSample
from tetrad.data.buckets import bucket_of, count_batches
from tetrad.data.dataset import Photo
from tetrad.data.latent_cache import LatentCache, LatentDistribution
from tetrad.run.dataset import load_dataset
from tetrad.settings import Data
from tetrad.weights import Weights


def length(photos: list[Photo], **settings: Any) -> str:
    return str(plans.plan(plans.recipe(**settings), photos).length())


def test_steps_are_epochs_times_images_times_repeats_divided_by_batch_size() -> None:
    photos = plans.photos(["a zkr"] * 24, repeats=6)
    plan = plans.plan(plans.recipe(train__epochs=10, train__batch_size=1), photos)
    assert plan.train.steps == 10 * 24 * 6 == 1440
    assert str(plan.length()).startswith("1,440 steps = 10 epochs × 24 images × 6 repeats / batch 1, ")


@pytest.mark.parametrize(
    "settings,sentence",
    [
        ({"train__epochs": 10, "train__batch_size": 4}, "360 steps = 10 epochs × 24 images × 6 repeats / batch 4"),
        (
            {"train__epochs": 10, "train__batch_size": 2, "train__gradient_accumulation": 2},
            "360 steps = 10 epochs × 24 images × 6 repeats / batch 4",
        ),
        ({"train__epochs": 2.5, "train__batch_size": 1}, "360 steps = 2.5 epochs × 24 images × 6 repeats / batch 1"),
        ({"train__steps": 72, "train__batch_size": 1}, "72 steps = 0.5 epochs × 24 images × 6 repeats / batch 1"),
        ({"train__epochs": 0.001, "train__batch_size": 1}, "1 step ≈ 0.006944 epochs of 144 steps (24 images × 6"),
        # A batch of 5 does not divide 144 evenly, so the last batch of an epoch is smaller.
        (
            {"train__epochs": 1, "train__batch_size": 5},
            "29 steps = 1 epoch of 29 steps (24 images × 6 repeats, batch 5)",
        ),
    ],
)
def test_the_length_is_given_in_steps_epochs_images_and_repeats(settings: dict[str, Any], sentence: str) -> None:
    assert length(plans.photos(["a zkr"] * 24, repeats=6), **settings).startswith(sentence)


def test_one_of_each_is_in_the_singular() -> None:
    assert length(plans.photos(["a zkr"]), train__epochs=1, train__batch_size=1) == (
        "1 step = 1 epoch × 1 image × 1 repeat / batch 1, 1 step per image"
    )


def test_the_length_includes_the_steps_per_image() -> None:
    photos = plans.photos(["a zkr"] * 24, repeats=6)
    assert length(photos, train__epochs=10, train__batch_size=1).endswith(", 60 steps per image")
    # As --steps-per-image means it: how many images a step uses does not matter.
    assert length(photos, train__steps=1440, train__batch_size=4).endswith(", 60 steps per image")
    assert length(photos, train__epochs=10, train__batch_size=4).endswith(", 15 steps per image")


def test_steps_per_image_do_not_include_the_steps_before_a_continued_run() -> None:
    recipe = plans.recipe(continue_from="x", train__steps=150, train__batch_size=1)
    plan = plans.plan(recipe, plans.photos(["a zkr"] * 5), start=Weights("lora", {}, {"step": "100"}))
    assert str(plan.length()) == "50 steps = 10 epochs × 5 images × 1 repeat / batch 1, 10 steps per image"


@pytest.mark.parametrize(
    "images,steps,sentence",
    [
        (1, 15_000, "15,000 steps = 15,000 epochs × 1 image × 1 repeat / batch 1, 15,000 steps per image"),
        (3, 37_021, "37,021 steps ≈ 12,340 epochs of 3 steps (3 images × 1 repeat, batch 1), 12,340 steps per image"),
        (3, 4000, "4,000 steps ≈ 1,333 epochs of 3 steps (3 images × 1 repeat, batch 1), 1,333 steps per image"),
        (3, 400, "400 steps ≈ 133.3 epochs of 3 steps (3 images × 1 repeat, batch 1), 133.3 steps per image"),
        (4, 3999, "3,999 steps ≈ 999.8 epochs of 4 steps (4 images × 1 repeat, batch 1), 999.8 steps per image"),
        (1200, 3, "3 steps = 0.0025 epochs × 1,200 images × 1 repeat / batch 1, 0.0025 steps per image"),
    ],
)
def test_large_and_rounded_numbers_are_written_out(images: int, steps: int, sentence: str) -> None:
    assert length(plans.photos(["a zkr"] * images), train__steps=steps, train__batch_size=1) == sentence


def test_an_equals_sign_means_that_the_shown_numbers_multiply_out() -> None:
    photos = [*plans.photos(["a zkr"] * 2, repeats=3), *plans.photos(["a zkr"], repeats=1)]
    assert length(photos, train__steps=4000, train__batch_size=1) == (
        "4,000 steps ≈ 571.4 epochs of 7 steps (3 images × 2.333 repeats, batch 1), 1,333 steps per image"
    )


def test_epochs_of_a_continued_run_are_added_to_the_earlier_steps() -> None:
    start = Weights("lora", {}, {"step": "100"})
    recipe = plans.recipe(continue_from="x", train__epochs=2, train__batch_size=1)
    train = plans.plan(recipe, plans.photos(["a zkr"] * 5), start=start).train
    assert (train.steps_before, train.steps) == (100, 110)


def test_steps_per_epoch_count_the_batches_of_each_bucket_as_the_loader_does() -> None:
    photos = [*plans.photos(["a"] * 5, size=(64, 64), repeats=3), *plans.photos(["b"] * 2, size=(128, 32), repeats=2)]
    assert len({bucket_of(photo, 64) for photo in photos}) == 2
    samples = [as_sample(photo) for photo in photos]
    for batch_size in (1, 2, 3, 4, 16):
        train = plans.plan(plans.recipe(train__epochs=1, train__batch_size=batch_size), photos).train
        assert train.steps == train.steps_per_epoch == len(Batches(samples, batch_size, 0))
        assert train.steps_per_epoch == count_batches(photos, 64, batch_size)
    assert train.repeats == 5 * 3 + 2 * 2 and train.images == 7


def write_images(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.effect_noise((64, 64), 20 + number).save(folder / name)


def as_sample(photo: Photo) -> TrainingSample:
    width, height = bucket_of(photo, 64)
    latent = torch.zeros(4, height // 8, width // 8)
    return TrainingSample.from_photo(photo, (LatentDistribution(latent, latent),), (width, height))


def test_the_number_in_a_folder_name_overrides_the_repeats(tmp_path: Path) -> None:
    write_images(tmp_path, "10_zkr/a.png", "10_zkr/b.png", "3_abc/c.png")
    assert repeats(tmp_path, 6) == {"a.png": 10, "b.png": 10, "c.png": 3}
    assert repeats(tmp_path / "10_zkr", 6) == {"a.png": 10, "b.png": 10}


def test_repeats_apply_to_every_image_of_a_folder_without_a_number(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png")
    assert repeats(tmp_path, 6) == {"a.png": 6, "b.png": 6}
    assert repeats(tmp_path, 1) == {"a.png": 1, "b.png": 1}


def test_num_repeats_of_a_dataset_configuration_overrides_the_repeats(tmp_path: Path) -> None:
    write_images(tmp_path, "one/one.png", "two/two.png")
    subset = "[[datasets.subsets]]\nimage_dir = '{}'\n"
    content = f"[[datasets]]\n{subset.format('one')}num_repeats = 4\n{subset.format('two')}"
    (tmp_path / "set.toml").write_text(content)
    assert repeats(tmp_path / "set.toml", 6) == {"one.png": 4, "two.png": 6}


def repeats(path: Path, setting: int) -> dict[str, int]:
    """How often an epoch uses each image of a dataset."""
    events = load_dataset(Data(images=str(path), repeats=setting), False, "", LatentCache(None))
    while True:
        try:
            next(events)
        except StopIteration as done:
            return {photo.path.name: photo.subset.repeats for photo in done.value.photos}


def test_a_plan_as_toml_has_every_value_decided() -> None:
    recipe = plans.recipe(train__learning_rate=2e-3, method__rank=4)
    values = tomllib.loads(plans.plan(recipe).as_toml())
    assert values["train"]["learning_rates"] == {"other parts": "0.002", "text_encoder": "0.001"}
    assert values["train"]["steps"] == 800 and values["train"]["batch_size"] == 4
    assert values["train"]["weight_decay"] == 0.01 and values["train"]["gradient_checkpointing"] is False
    assert values["train"]["device"] == "cpu" and values["train"]["dtype"] == "float32"
    assert values["method"]["kind"] == "lora" and values["method"]["rank"] == 4
    assert values["data"]["resolution"] == 64 and values["text"]["clip_skip"] == 1
    assert values["model"] == {
        "path": "builtin",
        "family": "sd1",
        "prediction": "epsilon",
        "vae": "",
        "continue_from": "",
    }
    assert values["save"]["name"] == "zkr" and values["save"]["format"] == "kohya"
    assert values["sample"]["prompts"] and values["sample"]["every"] == 200


@pytest.mark.parametrize("kind", ["textual-inversion", "hypernetwork", "lora", "dreambooth"])
def test_every_methods_plan_has_steps_and_learning_rates(kind: str) -> None:
    values = tomllib.loads(plans.plan(plans.recipe(method__kind=kind)).as_toml())
    rates: Mapping[str, str] = values["train"]["learning_rates"]
    assert rates and all(rates.values()) and rates["other parts"]
    train = values["train"]
    assert all(train[name] for name in ("steps", "steps_per_epoch", "batch_size", "images", "repeats", "optimizer"))
    assert values["method"]["kind"] == kind and values["save"]["precision"]
    if kind == "textual-inversion":
        assert values["method"]["vectors"] == 2
