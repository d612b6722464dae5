"""A setting that changes nothing in a run is named before its first step, and no other setting is."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import plans
import pytest
from PIL import Image

from tetrad.data.captions.caption_files import RawCaption
from tetrad.data.dataset import Photo, collect_photos, inspect_photos
from tetrad.data.discover.subsets import Subset
from tetrad.methods.base import ParamGroup
from tetrad.run.dataset import find_images
from tetrad.run.effects import decoder_effect_notes, effect_notes
from tetrad.run.training_run import group_schedule
from tetrad.settings import Recipe
from tetrad.settings.toml import build_settings
from tetrad.settings.vae_decoder import DecoderRecipe

UNET = ("unet",)
BOTH = ("unet", "text_encoder")
C = "data__captions__"


def photos_of(recipe: Recipe, captions: Sequence[str], **subset: Any) -> list[Photo]:
    """A photo for each caption, with the run's settings; a caption "" is no caption file."""
    group = Subset(recipe.data.trigger_word, recipe.data.class_word, recipe.data.captions, repeats=recipe.data.repeats)
    group = replace(group, **subset)
    photos = [replace(photo, path=Path(f"red dog {number}.png")) for number, photo in enumerate(plans.photos(captions))]
    made = [
        group.build_captions(photo.path, RawCaption(text, ".txt" if text else ""))
        for photo, text in zip(photos, captions, strict=True)
    ]
    return [
        replace(photo, captions=caption, caption_source=raw.source, subset=group)
        for photo, (caption, raw) in zip(photos, made, strict=True)
    ]


def reasons(recipe: Recipe, photos: Sequence[Photo], parts: Sequence[str] = UNET) -> dict[str, str]:
    """Each setting that the warnings of a run name, and the reason that they give."""
    plan = plans.plan(recipe, photos)
    groups = [ParamGroup(part, []) for part in parts]
    schedules = [group_schedule(plan.train, group, group.part.startswith("text")) for group in groups]
    notes = list(effect_notes(recipe, plan, groups, schedules, plans.shared(), photos, []))
    assert all(note.code == "W3132" for note in notes)
    return {note.message.values["setting"]: str(note.message.values["reason"]) for note in notes}


def names(settings: dict[str, Any], captions: Sequence[str], parts: Sequence[str] = UNET, **subset: Any) -> list[str]:
    recipe = plans.recipe(**{"train__steps": 10} | settings)
    return list(reasons(recipe, photos_of(recipe, captions, **subset), parts))


ONE_TAG = ["zkr"]
TAGS = ["zkr, red, tall, old"]
NO_FILEWORDS = {C + "template": "a photo of [name]"}


@pytest.mark.parametrize(
    "settings,captions",
    [
        ({C + "keep_separator": "|||"}, ["zkr ||| red, tall"]),
        ({C + "keep_separator": "|||", C + "separator": ";"}, ["zkr ||| red, tall; old"]),
        ({C + "separator": ";", C + "secondary_separator": "tall"}, TAGS),
        ({C + "shuffle": True}, ["zkr\nred\ntall"]),
        ({C + "shuffle": True, C + "suffix": ", x, y, z"}, ONE_TAG),
        ({C + "shuffle": True, C + "prefix": "x, y, z,"}, ONE_TAG),
        ({C + "tag_dropout": 1.0}, ["red"]),
        ({C + "tag_warmup": 100, C + "first_tags": 0}, ["red"]),
        ({C + "tag_dropout": 0.001}, TAGS),
        ({C + "wildcards": True}, ["zkr"] * 30 + ["a {red|blue} zkr"]),
        ({C + "wildcards": True}, ["zkr red\nzkr tall"]),
        ({C + "wildcards": True, C + "suffix": "{red|blue}"}, ONE_TAG),
        ({C + "wildcards": True, C + "keep_separator": "|||"}, ["zkr\nzkr ||| red"]),
        ({C + "dropout_epochs": 2}, ONE_TAG),
        ({C + "dropout": 0.001}, ONE_TAG),
        ({C + "template": "[name], [filewords]", C + "shuffle": True}, TAGS),
        ({C + "file_names": True, C + "name_pattern": "dog"}, ["", "zkr"]),
    ],
)
def test_a_caption_setting_that_changes_a_caption_is_not_named(settings: dict[str, Any], captions: list[str]) -> None:
    assert names(settings, captions) == []


@pytest.mark.parametrize(
    "settings,captions,setting,reason",
    [
        *(
            (NO_FILEWORDS | {C + name: value}, ["zkr {a|b}, red\ntall"], name, "no line of the caption template has")
            for name, value in [
                ("shuffle", True),
                ("prefix", "x"),
                ("suffix", "y"),
                ("wildcards", True),
                ("tag_dropout", 0.5),
                ("tag_warmup", 0.5),
                ("secondary_separator", "r"),
            ]
        ),
        ({C + "shuffle": True}, ONE_TAG, "shuffle", "no caption has more than one tag"),
        ({C + "tag_dropout": 0.5}, ONE_TAG, "tag_dropout", "no caption has more than one tag"),
        ({C + "keep_tokens": 1}, TAGS, "keep_tokens", "tags are not shuffled"),
        ({C + "keep_tokens": 9, C + "shuffle": True}, TAGS, "shuffle", "no caption changes with it"),
        ({C + "separator": ";"}, TAGS, "separator", "tags are not shuffled"),
        ({C + "keep_separator": "|||"}, TAGS, "keep_separator", "no caption has this separator"),
        ({C + "secondary_separator": ";"}, TAGS, "secondary_separator", "no caption has this separator"),
        ({C + "wildcards": True}, TAGS, "wildcards", "no caption has alternatives in braces"),
        ({C + "prefix": "x"}, [""], "prefix", "no image has a caption of its own"),
        ({C + "dropout_epochs": 20}, ONE_TAG, "dropout_epochs", "the run ends before such an epoch"),
        ({C + "file_names": True}, ONE_TAG, "file_names", "every image has a caption of its own"),
        ({C + "name_pattern": "[a-z]+"}, [""], "name_pattern", "no caption comes from a file name"),
        ({C + "first_tags": 3}, TAGS, "first_tags", "data.captions.tag_warmup is not set"),
        ({C + "dropout": 1.0, C + "shuffle": True}, TAGS, "shuffle", "no caption changes with it"),
    ],
)
def test_a_caption_setting_that_changes_no_caption_is_named(
    settings: dict[str, Any], captions: list[str], setting: str, reason: str
) -> None:
    recipe = plans.recipe(train__steps=10, **settings)
    found = reasons(recipe, photos_of(recipe, captions))
    assert list(found) == [f"data.captions.{setting}"] and found[f"data.captions.{setting}"].startswith(reason)


def test_a_reason_for_a_pattern_that_no_caption_needs_is_right() -> None:
    recipe = plans.recipe(train__steps=10, data__captions__file_names=True, data__captions__name_pattern="[a-z]+")
    assert reasons(recipe, photos_of(recipe, ["zkr"])) == {
        "data.captions.file_names": "every image has a caption of its own",
        "data.captions.name_pattern": "no caption comes from a file name",
    }


CONFIG = """
[[datasets]]
[[datasets.subsets]]
image_dir = "images"
"""


def config_photos(folder: Path, recipe: Recipe, keys: str, caption: str) -> tuple[Recipe, list[Photo]]:
    """The photos of a dataset configuration with these keys, in a folder with one captioned image."""
    (folder / "images").mkdir()
    Image.new("RGB", (64, 64)).save(folder / "images" / "a.png")
    (folder / "images" / "a.txt").write_text(caption, "utf-8")
    (folder / "config.toml").write_text(CONFIG + textwrap.dedent(keys), "utf-8")
    data = replace(recipe.data, images=str(folder / "config.toml"))
    listing = find_images(data, data.trigger_word, requires_trigger_word=False)
    return recipe, collect_photos(listing, inspect_photos(listing))[0]


@pytest.mark.parametrize(
    "keys,settings,named",
    [
        ('caption_separator = ";"\nshuffle_caption = true', {C + "keep_tokens": 2, C + "tag_dropout": 0.5}, []),
        ("shuffle_caption = true", {C + "separator": ";"}, []),
        ("shuffle_caption = true", {C + "shuffle": True}, ["data.captions.shuffle"]),
        ("shuffle_caption = false", {C + "shuffle": True}, ["data.captions.shuffle"]),
        ("num_repeats = 3", {"data__repeats": 3}, ["data.repeats"]),
        ("num_repeats = 3", {"data__repeats": 2}, ["data.repeats"]),
        ("flip_aug = false", {"data__flip": True, "data__repeats": 2}, ["data.flip"]),
        ("alpha_mask = false", {"data__alpha_mask": True}, ["data.alpha_mask"]),
        ("keep_tokens = 1", {"data__flip": True, "data__repeats": 2}, []),
    ],
)
def test_a_setting_that_the_dataset_gives_itself_is_named(
    tmp_path: Path, keys: str, settings: dict[str, Any], named: list[str]
) -> None:
    recipe = plans.recipe(train__steps=10, **settings)
    found = reasons(*config_photos(tmp_path, recipe, keys, "a; b, c; d; e, f"))
    assert list(found) == named
    assert all(reason == "the dataset gives its own value for every image" for reason in found.values())


def test_repeats_have_no_effect_where_the_folders_give_them(tmp_path: Path) -> None:
    for name in ("10_zkr dog", "zkr dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (64, 64)).save(tmp_path / name / "a.png")
    for name, expected in (("10_zkr dog", ["data.repeats"]), ("zkr dog", [])):
        recipe = plans.recipe(train__steps=10, data__repeats=2, data__images=str(tmp_path / name))
        listing = find_images(recipe.data, "zkr", requires_trigger_word=False)
        photos = collect_photos(listing, inspect_photos(listing))[0]
        assert list(reasons(recipe, photos)) == expected


SCHEDULE = {"train__learning_rate": "1e-2:1, 1e-3"}
PLAIN_TEXT = SCHEDULE | {"train__text_encoder_learning_rate": 0.01}


@pytest.mark.parametrize(
    "settings,parts,named",
    [
        (PLAIN_TEXT | {"train__scheduler": "linear", "train__warmup_steps": 2}, BOTH, []),
        (SCHEDULE | {"train__scheduler": "linear"}, BOTH, ["train.scheduler"]),
        (SCHEDULE | {"train__warmup_steps": 2}, UNET, ["train.warmup_steps"]),
        (SCHEDULE | {"train__scheduler": "linear", "train__text_encoder_learning_rate": 0}, BOTH, ["train.scheduler"]),
        (PLAIN_TEXT | {"train__scheduler": "linear"}, UNET, ["train.text_encoder_learning_rate", "train.scheduler"]),
        ({"train__scheduler": "linear", "train__warmup_steps": 2}, UNET, []),
        ({"train__scheduler": "linear", "train__warmup_steps": 10}, UNET, ["train.scheduler"]),
        ({"train__warmup_share": 0.5, "train__warmup_from_zero": True}, UNET, []),
        ({"train__warmup_share": 0.5, "train__warmup_steps": 2}, UNET, ["train.warmup_share"]),
        (SCHEDULE | {"train__warmup_share": 0.5}, UNET, ["train.warmup_share"]),
        ({"train__scheduler": "cosine"}, UNET, []),
        ({"train__scheduler": "constant"}, UNET, []),
        ({"train__scheduler_power": 1.0}, UNET, ["train.scheduler_power"]),
        ({"train__scheduler_power": 1.0, "train__scheduler": "polynomial"}, UNET, []),
        ({"train__text_encoder_share": 0.5}, UNET, ["train.text_encoder_share"]),
        ({"train__text_encoder_share": 0.5}, BOTH, []),
        ({"train__text_encoder_share": 0.99}, BOTH, ["train.text_encoder_share"]),
        (
            {"train__text_encoder_share": 0.5, "train__text_encoder_learning_rate": 0},
            BOTH,
            ["train.text_encoder_share"],
        ),
        (
            {"train__text_encoder_share": 0, "train__text_encoder_learning_rate": 1e-5},
            BOTH,
            ["train.text_encoder_learning_rate"],
        ),
        ({"train__text_encoder_learning_rate": 0}, BOTH, []),
        ({"save__every": 10}, UNET, ["save.every"]),
        ({"save__every": 9}, UNET, []),
        ({"save__every_epochs": 10}, UNET, ["save.every_epochs"]),
        ({"save__every_epochs": 9, "save__every": 20}, UNET, ["save.every"]),
        ({"save__keep_last": 1}, UNET, ["save.keep_last"]),
        ({"save__keep_last": 3, "save__every": 3}, UNET, ["save.keep_last"]),
        ({"save__keep_last": 2, "save__every": 3}, UNET, []),
        ({"save__keep_last": 1, "save__every_minutes": 5}, UNET, []),
        ({"sample__every_minutes": 5}, UNET, []),
        ({"sample__every_minutes": 5, "sample__every": 3}, UNET, ["sample.every_minutes"]),
        ({"sample__every_minutes": 5, "sample__every": -1}, UNET, ["sample.every_minutes"]),
        ({"sample__every_minutes": 5, "sample__every_epochs": 1}, UNET, ["sample.every_minutes"]),
        ({"sample__every_minutes": 5, "sample__cfg_scale": 5.0}, UNET, []),
        ({"method__kind": "dreambooth", "method__steps_per_image": 5}, UNET, ["method.steps_per_image"]),
        ({"method__kind": "dreambooth", "method__steps_per_image": 5, "train__steps": 0}, UNET, []),
        (
            {"method__kind": "dreambooth", "method__steps_per_image": 5, "train__steps": 0, "train__epochs": 2},
            UNET,
            ["method.steps_per_image"],
        ),
    ],
)
def test_a_setting_of_the_length_or_of_a_learning_rate_is_named_only_without_effect(
    settings: dict[str, Any], parts: Sequence[str], named: list[str]
) -> None:
    assert sorted(names(settings, ONE_TAG, parts)) == sorted(named)


@pytest.mark.parametrize(
    "settings,named",
    [
        ({"activate_output": True}, ["activate_output"]),
        ({"activate_output": True, "activation": "relu"}, []),
        ({"activation": "relu", "structure": [1, 1]}, ["activation"]),
        ({"activation": "relu", "structure": [1, 1], "activate_output": True}, []),
        ({"activation": "leakyrelu", "structure": [1, 1], "initialization": "KaimingNormal", "zero_start": False}, []),
        ({"dropout": 0.5, "structure": [1, 1]}, ["dropout"]),
        ({"dropout": 0.5, "last_layer_dropout": False}, ["dropout"]),
        ({"dropout": 0.5, "last_layer_dropout": False, "structure": [1, 2, 2, 1]}, []),
        ({"dropout": 0.5}, []),
        ({"last_layer_dropout": False}, ["last_layer_dropout"]),
    ],
)
def test_a_setting_of_a_hypernetwork_is_named_only_without_effect(settings: dict[str, Any], named: list[str]) -> None:
    method = {f"method__{name}": value for name, value in settings.items()} | {"method__kind": "hypernetwork"}
    assert names(method, ONE_TAG, ("hypernetwork",)) == [f"method.{name}" for name in named]


@pytest.mark.parametrize(
    "settings,named",
    [
        ({"rank": 1}, ["rslora"]),
        ({"rank": 1, "block_ranks": {"up": 1, "down": 0}}, ["rslora"]),
        ({"rank": 1, "block_ranks": {"up": 2}}, []),
        ({"rank": 1, "conv_rank": 4}, []),
        ({"rank": 2}, []),
    ],
)
def test_rslora_is_named_only_where_every_rank_is_one(settings: dict[str, Any], named: list[str]) -> None:
    method = {f"method__{name}": value for name, value in {"rslora": True, **settings}.items()}
    assert names(method, ONE_TAG) == [f"method.{name}" for name in named]


def test_a_vae_folder_that_the_trained_vae_is_not_from_is_named(tmp_path: Path) -> None:
    recipe = build_settings(DecoderRecipe, {"vae_dir": str(tmp_path)})
    [note] = decoder_effect_notes(recipe, None)
    assert note.code == "W3132" and str(note.message).startswith("vae_dir has no effect")
    assert list(decoder_effect_notes(recipe, tmp_path / "a.vae.pt")) == []
    assert list(decoder_effect_notes(DecoderRecipe(), None)) == []
