"""kohya's dataset configuration: the innermost table that sets a key counts, and no ignored key goes unreported."""

import json
import tomllib
from pathlib import Path

import pytest
from test_discover import write_images

from tetrad.data.dataset import Photo, collect_photos, inspect_photos
from tetrad.data.discover.layouts import Listing
from tetrad.data.discover.list_dataset import list_dataset
from tetrad.data.discover.subsets import Subset
from tetrad.errors import TetradError
from tetrad.settings import BucketSettings, CaptionSettings

FULL_CONFIG = """
[general]
shuffle_caption = true
keep_tokens = 1
caption_extension = '.txt'
enable_bucket = true

[[datasets]]
resolution = 512
batch_size = 2
keep_tokens = 2

  [[datasets.subsets]]
  image_dir = 'dogs'
  class_tokens = 'zkr dog'
  num_repeats = 10
  caption_dropout_rate = 0.1
  flip_aug = true

  [[datasets.subsets]]
  is_reg = true
  image_dir = 'reg'
  class_tokens = 'dog'
  keep_tokens = 3
"""
SUBSET = "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'dogs'\n"


def write_config(folder: Path, content: str, name: str = "dataset_config.toml") -> Path:
    write_images(folder, "dogs/a.png", "dogs/below/b.png", "reg/c.png")
    (folder / name).write_text(content)
    return folder / name


def subsets_by_name(listing: Listing) -> dict[str, Subset]:
    return {entry.path.name: entry.subset for entry in listing.entries}


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_the_innermost_table_that_sets_a_key_counts(tmp_path: Path, suffix: str) -> None:
    content = FULL_CONFIG if suffix == "toml" else json.dumps(tomllib.loads(FULL_CONFIG))
    listing = list_dataset(
        write_config(tmp_path, content, f"set.{suffix}"),
        Subset(caption_settings=CaptionSettings(dropout=0.5, prefix="p")),
    )
    settings = CaptionSettings(shuffle=True, extension=".txt", prefix="p")
    subsets = subsets_by_name(listing)
    assert list(subsets) == ["a.png", "c.png"], "as in kohya's trainer, without subfolders"
    assert (subsets["a.png"].repeats, subsets["a.png"].flip, subsets["a.png"].is_class_images) == (10, True, False)
    assert subsets["a.png"].caption_settings == CaptionSettings(**{**vars(settings), "keep_tokens": 2, "dropout": 0.1})
    assert (subsets["c.png"].repeats, subsets["c.png"].flip, subsets["c.png"].is_class_images) == (1, None, True)
    assert subsets["c.png"].caption_settings == CaptionSettings(**{**vars(settings), "keep_tokens": 3, "dropout": 0.5})
    assert (listing.batch_size, listing.resolution, listing.problems) == (2, 512, ())


def test_a_single_resolution_is_set_for_the_listing_and_not_per_subset(tmp_path: Path) -> None:
    assert {
        subset.resolution for subset in subsets_by_name(list_dataset(write_config(tmp_path, FULL_CONFIG))).values()
    } == {0}


def test_class_images_never_get_the_trigger_word_or_a_template(tmp_path: Path) -> None:
    without_class_tokens = FULL_CONFIG.replace("class_tokens = 'dog'\n", "")
    for config in (FULL_CONFIG, without_class_tokens):
        given = Subset(trigger_word="zkr", class_word="dog", caption_settings=CaptionSettings(template="zkr by [name]"))
        *_, class_image = load_photos(list_dataset(write_config(tmp_path, config), given))
        assert class_image.subset.is_class_images and class_image.caption == "dog"


def test_class_tokens_are_trigger_word_and_class_word(tmp_path: Path) -> None:
    photos: list[Photo] = []
    for subset in (Subset(), Subset(trigger_word="new")):
        listing = list_dataset(write_config(tmp_path, FULL_CONFIG), subset)
        photos += load_photos(listing)
    results = [(photo.captions.default_caption, photo.caption_source, photo.captions.trigger_word) for photo in photos]
    assert results == [
        ("zkr dog", "class_tokens", "zkr"), ("dog", "class_tokens", ""),
        ("a photo of new", "trigger word", "new"), ("dog", "class_tokens", ""),
    ]  # fmt: skip


def load_photos(listing: Listing) -> list[Photo]:
    return collect_photos(listing, inspect_photos(listing))[0]


def test_datasets_of_two_resolutions_use_the_images_at_both(tmp_path: Path) -> None:
    two = SUBSET.replace("[[datasets]]\n", "[[datasets]]\nresolution = [768, 512]\n", 1)
    two += SUBSET.replace("[[datasets]]\n", "[[datasets]]\nresolution = 256\nbatch_size = 4\n", 1)
    listing = list_dataset(write_config(tmp_path, two))
    assert [entry.subset.resolution for entry in listing.entries] == [627, 256] and listing.resolution == 627
    [note] = listing.problems
    assert (note.code, note.reason.values["values"]) == ("W4151", "0, 4")


def test_a_folder_is_used_once_per_dataset(tmp_path: Path) -> None:
    again = "[[datasets.subsets]]\nimage_dir = 'dogs'\nnum_repeats = 5\n"
    assert [entry.subset.repeats for entry in list_dataset(write_config(tmp_path, SUBSET + again)).entries] == [1]


@pytest.mark.parametrize("name", ["a.png", "a", "dogs/a.png"])
def test_captions_come_from_kohyas_metadata_file(tmp_path: Path, name: str) -> None:
    """Its keys may omit the extension; they are relative to image_dir, or to the file's own folder if there is none."""
    config = "[[datasets]]\n[[datasets.subsets]]\nmetadata_file = 'meta.json'\n"
    config += "" if "/" in name else "image_dir = 'dogs'\n"
    (tmp_path / "meta.json").write_text(json.dumps({name: {"caption": "x", "tags": "y, z", "image_size": [1, 2]}}))
    listing = list_dataset(write_config(tmp_path, config))
    assert [photo.caption for photo in load_photos(listing)] == ["x, y, z"] and listing.problems == ()


@pytest.mark.parametrize("line,expected", [
    ("random_crop = true", "random_crop has no effect: each image is encoded once"),
    ("validation_seed = 1\ncustom_attributes = 5", "validation_seed, custom_attributes have no effect"),
    ("num_repeat = 3", "did you mean num_repeats?"),
    ("zzz = 3", "zzz is not a key"),
    ("resolution = 512", "move it to [[datasets]]"),
    ("color_aug = false\nenable_bucket = true\ntoken_warmup_min = 1", ""),
])  # fmt: skip
def test_ignored_keys_are_reported(tmp_path: Path, line: str, expected: str) -> None:
    problems = list_dataset(write_config(tmp_path, f"{SUBSET}{line}\n")).problems
    assert [problem.code for problem in problems] == (["W4151"] if expected else [])
    assert all(expected in str(problem.reason) for problem in problems)


@pytest.mark.parametrize("content,code,message", [
    ("a = ", "E4170", "cannot be read"), ("a = 1", "E4170", r"\[\[datasets\]\]"), ("datasets = 3", "E4171", "datasets"),
    ("[[datasets]]\n", "E4171", r"datasets\[0\]\.subsets is missing"),
    ("[[datasets]]\nsubsets = [1]", "E4171", "not a list of tables"),
    ("general = 1\ndatasets = []", "E4171", "general"),
    ("[[datasets]]\n[[datasets.subsets]]\nnum_repeats = 2", "E4171", r"datasets\[0\].subsets\[0\] has no image_dir"),
    (SUBSET + "num_repeats = 'x'", "E4171", r"subsets\[0\].num_repeats is 'x'; it must be a whole number"),
    (SUBSET + "num_repeats = true", "E4171", "whole number"), (SUBSET + "num_repeats = 0", "E4171", "from 1"),
    (SUBSET + "num_repeats = 1000000000", "E4171", "to 10000"),
    ("[general]\nbatch_size = 0\n" + SUBSET, "E4171", r"batch_size is 0; it must be from 1 to 256"),
    ("[general]\nbatch_size = -1\n" + SUBSET, "E4171", "from 1"),
    (SUBSET + "shuffle_caption = 1", "E4171", "true or false"), (SUBSET + "image_dir = 'x'", "E4170", "overwrite"),
    (SUBSET + "caption_dropout_rate = 2", "E3103", "from 0 to 1"),
    ("[general]\nresolution = 5\n" + SUBSET, "E4171", "from 32"),
    ("[general]\nresolution = [512, 512, 3]\n" + SUBSET, "E4171", "from 32"),
    (SUBSET + "metadata_file = 'gone.json'", "E4171", "has no caption for any image"),
    (SUBSET + "is_reg = true", "E4002", "only class images"),
    ("[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'gone'", "E4001", "there is no folder gone"),
])  # fmt: skip
def test_an_invalid_configuration_is_refused(tmp_path: Path, content: str, code: str, message: str) -> None:
    with pytest.raises(TetradError, match=message) as caught:
        list_dataset(write_config(tmp_path, content))
    assert caught.value.code == code and "\n" not in caught.value.message


@pytest.mark.parametrize("content", [b"\xff\xff\xff[", b"{" * 5000])
def test_a_configuration_that_is_not_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "set.json").write_bytes(content)
    with pytest.raises(TetradError) as caught:
        list_dataset(tmp_path / "set.json")
    assert caught.value.code == "E4170"


def test_each_dataset_has_buckets_of_its_own(tmp_path: Path) -> None:
    write_images(tmp_path, "one/a.png")
    tables = [{"subsets": [{"image_dir": "one"}]}, {"subsets": [{"image_dir": "one"}], "enable_bucket": False}]
    tables[0] |= {"bucket_no_upscale": True, "bucket_reso_steps": 32, "min_bucket_reso": 128, "max_bucket_reso": 768}
    (tmp_path / "data.json").write_text(json.dumps({"datasets": tables}))
    first, second = list_dataset(tmp_path / "data.json").entries
    assert first.subset.buckets == BucketSettings(enlarge=False, step=32, min_side=128, max_side=768)
    assert second.subset.buckets == BucketSettings(square=True)
