"""kohya's configuration: the nearest table that says something counts, and nothing in it is passed over in silence."""

import json
import tomllib
from pathlib import Path

import pytest
from test_sources import filled

from tetrad.data.captions import Wording
from tetrad.data.folder import Photo, gathered, read
from tetrad.data.layouts import Listing
from tetrad.data.sources import listed
from tetrad.data.subsets import Subset
from tetrad.errors import TetradError

WHOLE = """
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


def written(folder: Path, content: str, name: str = "dataset_config.toml") -> Path:
    filled(folder, "dogs/a.png", "dogs/below/b.png", "reg/c.png")
    (folder / name).write_text(content)
    return folder / name


def entries(listing: Listing) -> dict[str, Subset]:
    return {entry.path.name: entry.subset for entry in listing.entries}


@pytest.mark.parametrize("kind", ["toml", "json"])
def test_the_nearest_table_counts(tmp_path: Path, kind: str) -> None:
    content = WHOLE if kind == "toml" else json.dumps(tomllib.loads(WHOLE))
    listing = listed(written(tmp_path, content, f"set.{kind}"), Subset(wording=Wording(dropout=0.5, prefix="p")))
    wording = Wording(shuffle=True, extension=".txt", prefix="p")
    got = entries(listing)
    assert list(got) == ["a.png", "c.png"], "as kohya, without folders below"
    assert (got["a.png"].repeats, got["a.png"].flip, got["a.png"].prior) == (10, True, False)
    assert got["a.png"].wording == Wording(**{**vars(wording), "keep_tokens": 2, "dropout": 0.1})
    assert (got["c.png"].repeats, got["c.png"].flip, got["c.png"].prior) == (1, None, True)
    assert got["c.png"].wording == Wording(**{**vars(wording), "keep_tokens": 3, "dropout": 0.5})
    assert (listing.batch_size, listing.resolution, listing.skipped) == (2, 512, ())


def test_one_resolution_is_the_listings_and_no_pictures_own(tmp_path: Path) -> None:
    assert {subset.resolution for subset in entries(listed(written(tmp_path, WHOLE))).values()} == {0}


def test_priors_never_hold_the_word_or_a_template_that_may(tmp_path: Path) -> None:
    nameless = WHOLE.replace("class_tokens = 'dog'\n", "")
    for config in (WHOLE, nameless):
        given = Subset(word="zkr", class_word="dog", wording=Wording(template="zkr by [name]"))
        *_, prior = found_in(listed(written(tmp_path, config), given))
        assert prior.subset.prior and prior.caption == "dog"


def test_class_tokens_are_word_and_class(tmp_path: Path) -> None:
    photos: list[Photo] = []
    for subset in (Subset(), Subset(word="new")):
        listing = listed(written(tmp_path, WHOLE), subset)
        photos += found_in(listing)
    said = [(photo.captions.plain, photo.caption_source, photo.captions.word) for photo in photos]
    assert said == [
        ("zkr dog", "class_tokens", "zkr"), ("dog", "class_tokens", ""),
        ("a photo of new", "word", "new"), ("dog", "class_tokens", ""),
    ]  # fmt: skip


def found_in(listing: Listing) -> list[Photo]:
    return gathered(listing, read(listing))[0]


def test_datasets_of_two_resolutions_show_pictures_at_both(tmp_path: Path) -> None:
    two = SUBSET.replace("[[datasets]]\n", "[[datasets]]\nresolution = [768, 512]\n", 1)
    two += SUBSET.replace("[[datasets]]\n", "[[datasets]]\nresolution = 256\nbatch_size = 4\n", 1)
    listing = listed(written(tmp_path, two))
    assert [entry.subset.resolution for entry in listing.entries] == [627, 256] and listing.resolution == 627
    [note] = listing.skipped
    assert note.code == "W4151" and "different batch_size, [0, 4]" in note.reason


def test_a_folder_counts_once_in_a_dataset(tmp_path: Path) -> None:
    again = "[[datasets.subsets]]\nimage_dir = 'dogs'\nnum_repeats = 5\n"
    assert [entry.subset.repeats for entry in listed(written(tmp_path, SUBSET + again)).entries] == [1]


@pytest.mark.parametrize("name", ["a.png", "a", "dogs/a.png"])
def test_kohyas_metadata_file_says_what_pictures_show(tmp_path: Path, name: str) -> None:
    """Its keys have their ending or not; they are of the image_dir, or of the file's own folder where there is none."""
    config = "[[datasets]]\n[[datasets.subsets]]\nmetadata_file = 'meta.json'\n"
    config += "" if "/" in name else "image_dir = 'dogs'\n"
    (tmp_path / "meta.json").write_text(json.dumps({name: {"caption": "x", "tags": "y, z", "image_size": [1, 2]}}))
    listing = listed(written(tmp_path, config))
    assert [photo.caption for photo in found_in(listing)] == ["x, y, z"] and listing.skipped == ()


@pytest.mark.parametrize("line,saying", [
    ("random_crop = true", "random_crop has no effect here: each picture becomes a latent once, as it is, its middle"),
    ("validation_seed = 1\ncustom_attributes = 5", "validation_seed, custom_attributes have no effect here"),
    ("num_repeat = 3", "num_repeat is no key of a dataset configuration; did you mean num_repeats?"),
    ("zzz = 3", "zzz is no key of a dataset configuration"),
    ("resolution = 512", "resolution has no effect where it stands; put it under [[datasets]]"),
    ("color_aug = false\nenable_bucket = true\ntoken_warmup_min = 1", ""),
])  # fmt: skip
def test_keys_that_are_not_followed_are_named(tmp_path: Path, line: str, saying: str) -> None:
    listing = listed(written(tmp_path, f"{SUBSET}{line}\n"))
    assert [(s.code, s.reason) for s in listing.skipped] == ([("W4151", saying)] if saying else [])


@pytest.mark.parametrize("content,code,saying", [
    ("a = ", "E4170", "cannot be read"), ("a = 1", "E4170", r"\[\[datasets\]\]"), ("datasets = 3", "E4171", "datasets"),
    ("[[datasets]]\n", "E4171", r"datasets\[0\] has no \[\[subsets\]\]"),
    ("[[datasets]]\nsubsets = [1]", "E4171", "not only tables"), ("general = 1\ndatasets = []", "E4171", "general"),
    ("[[datasets]]\n[[datasets.subsets]]\nnum_repeats = 2", "E4171", r"datasets\[0\].subsets\[0\] has no image_dir"),
    (SUBSET + "num_repeats = 'x'", "E4171", r"subsets\[0\].num_repeats is 'x'; it must be a whole number"),
    (SUBSET + "num_repeats = true", "E4171", "whole number"), (SUBSET + "num_repeats = 0", "E4171", "from 1"),
    (SUBSET + "num_repeats = 1000000000", "E4171", "to 10000"),
    (SUBSET + "shuffle_caption = 1", "E4171", "true or false"), (SUBSET + "image_dir = 'x'", "E4170", "overwrite"),
    (SUBSET + "caption_dropout_rate = 2", "E3103", "from 0 to 1"),
    ("[general]\nresolution = 5\n" + SUBSET, "E4171", "from 32"),
    ("[general]\nresolution = [512, 512, 3]\n" + SUBSET, "E4171", "from 32"),
    (SUBSET + "metadata_file = 'gone.json'", "E4171", "gives a caption to no picture"),
    (SUBSET + "is_reg = true", "E4002", "only prior pictures"),
    ("[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'gone'", "E4001", "there is no folder gone"),
])  # fmt: skip
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path: Path, content: str, code: str, saying: str) -> None:
    with pytest.raises(TetradError, match=saying) as caught:
        listed(written(tmp_path, content))
    assert caught.value.code == code and "\n" not in caught.value.message


@pytest.mark.parametrize("content", [b"\xff\xff\xff[", b"{" * 5000])
def test_a_configuration_that_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "set.json").write_bytes(content)
    with pytest.raises(TetradError) as caught:
        listed(tmp_path / "set.json")
    assert caught.value.code == "E4170"
