"""All common folder layouts are read, caption sources have a fixed order, and problems are reported."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from photos import load_dataset
from PIL import Image

from tetrad.data.dataset import Photo, collect_photos, describe_caption_sources, inspect_photos
from tetrad.data.discover.image_files import FileProblem
from tetrad.data.discover.list_dataset import list_dataset
from tetrad.data.discover.subsets import Subset
from tetrad.errors import TetradError
from tetrad.settings import CaptionSettings


def write_images(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (64, 64), colour(name))
        image.paste("white", (0, 0, 8, 8))
        image.save(folder / name)
    return folder


def colour(name: str) -> tuple[int, int, int]:
    """A colour per name, so that no two images are the same."""
    first, second, third, *_ = hashlib.sha256(name.encode()).digest()
    return first, second, third


def load_photos(folder: Path, subset: Subset | None = None) -> tuple[dict[str, Photo], list[FileProblem]]:
    listing = list_dataset(folder, subset)
    good, skipped = collect_photos(listing, inspect_photos(listing))
    return {photo.path.relative_to(folder).as_posix(): photo for photo in good}, skipped


def lines(*rows: object) -> str:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)


@pytest.mark.parametrize("name,content", [
    ("metadata.jsonl", lines({"file_name": "a.png", "text": "一只猫"}, "", {"file_name": "b/c.png", "text": "a dog,"})),
    ("metadata.csv", 'file_name,text\na.png,一只猫\nb/c.png," a dog, "\n'),
    ("METADATA.CSV", " file_name, text \n a.png, 一只猫\nb/c.png, a dog,\n"),
    ("metadata.csv", "\ufefffile_name;text\r\na.png;一只猫\r\n.\\b\\c.png;a dog\r\n"),
    ("metadata.jsonl", '{"file_name": "a.png", "text": "一只猫"}\r{"file_name": "b/c.png", "text": "a dog"}'),
    ("metadata.jsonl", lines({"image_path": "a.png", "prompt": "一只猫"}, {"file_name": "./b/c.png", "tags": "a dog"})),
])  # fmt: skip
def test_captions_come_from_a_metadata_file(tmp_path: Path, name: str, content: str) -> None:
    write_images(tmp_path, "a.png", "b/c.png", "other.png")
    (tmp_path / name).write_text(content, "utf-8")
    good, skipped = load_photos(tmp_path)
    assert {key: (photo.caption, photo.caption_source) for key, photo in good.items()} == {
        "a.png": ("一只猫", name.lower()), "b/c.png": ("a dog", name.lower()), "other.png": ("other", "file name"),
    }  # fmt: skip
    assert skipped == []


@pytest.mark.parametrize("name,listed_name", [
    ("cafe\u0301.png", "caf\u00e9.png"), ("a.png", "b/../a.png"), ("a.png", "a"), ("a.b.png", "a.b"),
    ("b/a.png", "b\\a.png"),
])  # fmt: skip
def test_an_image_is_found_under_equivalent_spellings_of_its_name(tmp_path: Path, name: str, listed_name: str) -> None:
    write_images(tmp_path, name)
    (tmp_path / "metadata.jsonl").write_text(lines({"file_name": listed_name, "text": "a hat"}))
    good, skipped = load_photos(tmp_path)
    assert [photo.caption for photo in good.values()] == ["a hat"] and skipped == []


@pytest.mark.parametrize("name,content,code,message", [
    ("metadata.jsonl", lines({"file_name": "a" * 999, "text": "x"}), "E4155", "does not exist"),
    ("metadata.jsonl", lines({"file_name": "a\0.png", "text": "x"}), "E4155", "does not exist"),
    ("metadata.jsonl", lines({"file_name": "a.png", "text": "x"}, '{"file_name": '), "E4153", "line 2 cannot"),
    ("metadata.jsonl", lines(*["no"] * 9, {"file_name": "a.png", "text": "x"}), "E4153", "9 lines .*: 1, 2, 3, …;"),
    ("metadata.jsonl", "[" * 100_000, "E4153", "line 1 cannot"),
    ("metadata.jsonl", "[1, 2]", "E4153", "not a JSON object"),
    ("metadata.csv", "name,text\na.png,x\n", "E4154", "no column file_name.* name, text"),
    ("metadata.csv", "a.png,a cat\n", "E4154", "its first line must name the columns"),
    ("metadata.csv", "file_name,text\na.png,x\n,y\n", "E4153", "1 of its 2 rows has no file name or no caption"),
    ("metadata.csv", "file_name,text\n,y\n", "E4153", "its only row has no file name or no caption"),
    ("metadata.csv", "file_name,text\na.png,x\na.png,y\n", "E4153", "a.png more than once"),
    ("metadata.csv", "file_name,label\na.png,x\n", "E4154", "no column text.* file_name, label"),
    ("metadata.csv", "file_name,text\na.png,x\nb.png,y\nc.png,z\n", "E4155", "2 images .* b.png, c.png"),
    ("metadata.jsonl", lines({"file_name": "gone.png", "text": "x"}), "E4155", "gone.png, which does not exist"),
    ("metadata.csv", b"file_name,text\na.png,caf\xe9 \xff\xff\n", "E4152", "UTF-8"),
    ("metadata.csv", "file_name,text\na.png,a cat, red\n", "E4153", "line 2 has more columns.* double quotes"),
    ("metadata.csv", "file_name,text\n" + "\n" * 300_001, "E4151", "more than 300,000 entries"),
    ("metadata.csv", "", "E4154", "it is empty"), ("metadata.jsonl", "\n\n", "E4154", "it is empty"),
])  # fmt: skip
def test_a_metadata_file_that_cannot_be_used_entirely_is_reported(
    tmp_path: Path, name: str, content: str | bytes, code: str, message: str
) -> None:
    write_images(tmp_path, "a.png")
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    good, [skipped] = load_photos(tmp_path)
    assert list(good) == ["a.png"] and (skipped.path.name, skipped.code) == (name, code)
    assert re.search(message, str(skipped.reason))


def test_captions_come_from_caption_files_then_metadata_then_the_folder_name(tmp_path: Path) -> None:
    write_images(tmp_path, *(f"5_zkr dog/{name}.png" for name in "abcd"))
    folder = tmp_path / "5_zkr dog"
    for name, content in {"a.txt": "txt", "a.caption": "caption", "b.caption": "caption"}.items():
        (folder / name).write_text(content)
    (tmp_path / "metadata.jsonl").write_text(
        lines(*({"file_name": f"5_zkr dog/{name}.png", "text": "above"} for name in "abc"))
    )
    (folder / "metadata.csv").write_text("file_name,text\na.png,nearer\nb.png,nearer\nc.png,nearer\n")
    good, _ = load_photos(tmp_path)
    assert [(photo.caption, photo.caption_source) for photo in good.values()] == [
        ("txt", ".txt"), ("caption", ".caption"), ("nearer", "metadata.csv"), ("zkr dog", "folder name"),
    ]  # fmt: skip
    expected = (
        "1 caption from .txt, 1 caption from .caption, 1 caption from metadata.csv, 1 caption from the folder name"
    )
    assert str(describe_caption_sources(good.values())) == expected


def test_file_names_are_captions_if_asked_for(tmp_path: Path) -> None:
    write_images(tmp_path, "01 red hat.png", "IMG_2.png")
    subset = Subset(trigger_word="zkr", caption_settings=CaptionSettings(file_names=True))
    assert [photo.caption for photo in load_photos(tmp_path, subset)[0].values()] == ["zkr, red hat", "a photo of zkr"]
    assert [photo.caption for photo in load_photos(tmp_path, Subset(trigger_word="zkr"))[0].values()] == [
        "a photo of zkr"
    ] * 2


def test_only_caption_files_of_the_given_extension_are_read(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    (tmp_path / "a.txt").write_text("txt")
    (tmp_path / "a.tags").write_text("tags")
    for extension in ("tags", ".tags"):
        assert (
            load_photos(tmp_path, Subset(caption_settings=CaptionSettings(extension=extension)))[0]["a.png"].caption
            == "tags"
        )


def test_kohyas_folder_names_give_repeats_trigger_word_and_class_word(tmp_path: Path) -> None:
    write_images(tmp_path, "img/10_zkr dog/a.png", "img/10_zkr dog/more/b.png", "img/3_abc/c.png", "reg/2_dog/d.png")
    good, skipped = load_photos(tmp_path)
    subsets = {
        name: (p.subset.repeats, p.subset.trigger_word, p.subset.class_word, p.subset.is_class_images)
        for name, p in good.items()
    }
    assert subsets == {
        "img/10_zkr dog/a.png": (10, "zkr", "dog", False), "img/10_zkr dog/more/b.png": (10, "zkr", "dog", False),
        "img/3_abc/c.png": (3, "abc", "", False), "reg/2_dog/d.png": (2, "", "dog", True),
    }  # fmt: skip
    assert [photo.caption for photo in good.values()] == ["zkr dog", "zkr dog", "abc", "dog"] and skipped == []


def test_a_reg_folder_given_as_the_path_holds_subject_images(tmp_path: Path) -> None:
    write_images(tmp_path, "reg/2_dog/d.png")
    assert [photo.subset.is_class_images for photo in load_photos(tmp_path / "reg")[0].values()] == [False]
    with pytest.raises(TetradError, match="only class images") as caught:
        list_dataset(tmp_path)
    assert caught.value.code == "E4002"


def test_a_given_trigger_word_overrides_the_folder_name_but_class_images_never_have_it(tmp_path: Path) -> None:
    write_images(tmp_path, "10_zkr dog/a.png", "reg/1_dog/b.png")
    good, _ = load_photos(tmp_path, Subset(trigger_word="new", class_word="cat"))
    assert [photo.caption for photo in good.values()] == ["a photo of new cat", "dog"]


def test_the_path_may_be_one_of_kohyas_folders(tmp_path: Path) -> None:
    good, _ = load_dataset(write_images(tmp_path / "7_zkr dog", "a.png"))
    assert (good[0].subset.repeats, good[0].caption) == (7, "zkr dog")


@pytest.mark.parametrize("name", ["2024_summer", "01_front", "10", "10_", "10_!", "ten_zkr", "0_zkr", "_zkr"])
def test_other_names_with_numbers_are_plain_folders(tmp_path: Path, name: str) -> None:
    good, skipped = load_dataset(write_images(tmp_path, f"{name}/a.png", "b.png"))
    assert [photo.subset for photo in good] == [Subset(), Subset()] and skipped == []


def test_images_outside_kohyas_folders_are_left_out_and_reported(tmp_path: Path) -> None:
    write_images(tmp_path, "img/10_zkr/a.png", "model/sample/1.png", "model/sample/2.png", "loose.png")
    good, skipped = load_photos(tmp_path)
    assert list(good) == ["img/10_zkr/a.png"]
    problems = {(s.path.relative_to(tmp_path).as_posix(), s.code, s.reason.values["count"]) for s in skipped}
    assert problems == {("model/sample", "W4150", 2), (".", "W4150", 1)}


@pytest.mark.parametrize("word,caption", [("", "a hat"), ("zkr", "zkr, a hat")])
def test_a_given_trigger_word_is_added_to_captions_but_a_folder_name_is_not(
    tmp_path: Path, word: str, caption: str
) -> None:
    write_images(tmp_path, "10_images/a.png")
    (tmp_path / "10_images" / "a.txt").write_text("a hat")
    assert [photo.caption for photo in load_photos(tmp_path, Subset(trigger_word=word))[0].values()] == [caption]


def test_duplicates_and_shared_caption_files_are_reported(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "c.jpg")
    for name in ("b.png", "c.png"):
        (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "c.txt").write_text("a hat")
    listing = list_dataset(tmp_path)
    problems = collect_photos(listing, inspect_photos(listing))[1]
    duplicates = [(s.path.name, s.code, s.reason.values["file"]) for s in problems if s.code == "W4155"]
    assert duplicates == [("b.png", "W4155", "a.png"), ("c.png", "W4155", "a.png")]
    assert [(s.path.name, s.reason.values["count"]) for s in problems if s.code == "W4154"] == [("c.txt", 2)]
    assert len(problems) == 3


def test_class_images_alone_are_not_enough(tmp_path: Path) -> None:
    write_images(tmp_path, "reg/1_dog/b.png", "10_zkr/a.png")
    (tmp_path / "10_zkr" / "a.png").write_bytes(b"")
    with pytest.raises(TetradError, match=r"E4003 .*; a\.png: .*empty"):
        load_dataset(tmp_path)


def test_listing_opens_no_file_and_inspecting_gives_one_result_per_file(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "c.png")
    (tmp_path / "b.png").write_bytes(b"")
    listing = list_dataset(tmp_path)
    assert len(listing) == 3
    assert [photo is not None for photo, _ in inspect_photos(listing)] == [True, False, True]
