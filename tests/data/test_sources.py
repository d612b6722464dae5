"""Every layout that people use is read, whose words come first is fixed, and what cannot be used is named."""

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from tetrad.data.captions import Wording
from tetrad.data.folder import Photo, caption_sources, gathered, photos, read
from tetrad.data.listing import Skipped
from tetrad.data.sources import listed
from tetrad.data.subsets import Subset
from tetrad.errors import TetradError


def filled(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), colour(name)).save(folder / name)
    return folder


def colour(name: str) -> tuple[int, int, int]:
    """One for each name, so that no two pictures are the same."""
    first, second, third, *_ = hashlib.sha256(name.encode()).digest()
    return first, second, third


def found(folder: Path, subset: Subset | None = None) -> tuple[dict[str, Photo], list[Skipped]]:
    listing = listed(folder, subset)
    good, skipped = gathered(listing, read(listing))
    return {photo.path.relative_to(folder).as_posix(): photo for photo in good}, skipped


def lines(*rows: object) -> str:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)


@pytest.mark.parametrize("name,content", [
    ("metadata.jsonl", lines({"file_name": "a.png", "text": "一只猫"}, "", {"file_name": "b/c.png", "text": "a dog,"})),
    ("metadata.csv", 'file_name,text\na.png,一只猫\nb/c.png," a dog, "\n'),
    ("metadata.csv", "\ufefffile_name;text\r\na.png;一只猫\r\n.\\b\\c.png;a dog\r\n"),
    ("metadata.jsonl", lines({"image_path": "a.png", "prompt": "一只猫"}, {"file_name": "./b/c.png", "tags": "a dog"})),
])  # fmt: skip
def test_a_metadata_file_says_what_pictures_show(tmp_path: Path, name: str, content: str) -> None:
    filled(tmp_path, "a.png", "b/c.png", "other.png")
    (tmp_path / name).write_text(content, "utf-8")
    good, skipped = found(tmp_path)
    assert {key: (photo.caption, photo.caption_source) for key, photo in good.items()} == {
        "a.png": ("一只猫", name), "b/c.png": ("a dog", name), "other.png": ("other", "file name"),
    }  # fmt: skip
    assert skipped == []


@pytest.mark.parametrize("name,spelling", [
    ("cafe\u0301.png", "caf\u00e9.png"), ("a.png", "b/../a.png"), ("a.png", "a"), ("a.b.png", "a.b"),
    ("b/a.png", "b\\a.png"),
])  # fmt: skip
def test_a_picture_is_found_however_its_name_is_spelled(tmp_path: Path, name: str, spelling: str) -> None:
    filled(tmp_path, name)
    (tmp_path / "metadata.jsonl").write_text(lines({"file_name": spelling, "text": "a hat"}))
    good, skipped = found(tmp_path)
    assert [photo.caption for photo in good.values()] == ["a hat"] and skipped == []


@pytest.mark.parametrize("name,content,code,saying", [
    ("metadata.jsonl", lines({"file_name": "a" * 999, "text": "x"}), "E4155", "not there"),
    ("metadata.jsonl", lines({"file_name": "a\0.png", "text": "x"}), "E4155", "not there"),
    ("metadata.jsonl", lines({"file_name": "a.png", "text": "x"}, '{"file_name": '), "E4153", "line 2 cannot"),
    ("metadata.jsonl", lines(*["no"] * 9, {"file_name": "a.png", "text": "x"}), "E4153", r"9 lines \(1, 2, 3, …\)"),
    ("metadata.jsonl", "[" * 100_000, "E4153", "line 1 cannot"),
    ("metadata.jsonl", "[1, 2]", "E4153", "no object in braces"),
    ("metadata.csv", "name,text\na.png,x\n", "E4154", "has name, text but no file_name"),
    ("metadata.csv", "a.png,a cat\n", "E4154", "its first line must name its columns"),
    ("metadata.csv", "file_name,text\na.png,x\n,y\n", "E4153", r"1 of what it lists \(2\) has no name or no words"),
    ("metadata.csv", "file_name,text\na.png,x\na.png,y\n", "E4153", "picture a.png is in it more than once"),
    ("metadata.csv", "file_name,label\na.png,x\n", "E4154", "has file_name, label but no text"),
    ("metadata.csv", "file_name,text\na.png,x\nb.png,y\nc.png,z\n", "E4155", r"\(b.png, c.png\) that it names are"),
    ("metadata.jsonl", lines({"file_name": "gone.png", "text": "x"}), "E4155", "picture gone.png that it names is not"),
    ("metadata.csv", b"file_name,text\na.png,caf\xe9 \xff\xff\n", "E4152", "UTF-8"),
])  # fmt: skip
def test_a_metadata_file_that_is_partly_no_use_is_named(
    tmp_path: Path, name: str, content: str | bytes, code: str, saying: str
) -> None:
    filled(tmp_path, "a.png")
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    good, [skipped] = found(tmp_path)
    assert list(good) == ["a.png"] and (skipped.path.name, skipped.code) == (name, code)
    with pytest.raises(AssertionError, match=saying):
        raise AssertionError(skipped.reason)


def test_words_come_first_from_beside_then_from_metadata_then_from_the_folders_name(tmp_path: Path) -> None:
    filled(tmp_path, *(f"5_zkr dog/{name}.png" for name in "abcd"))
    below = tmp_path / "5_zkr dog"
    for name, content in {"a.txt": "txt", "a.caption": "caption", "b.caption": "caption"}.items():
        (below / name).write_text(content)
    (tmp_path / "metadata.jsonl").write_text(
        lines(*({"file_name": f"5_zkr dog/{name}.png", "text": "above"} for name in "abc"))
    )
    (below / "metadata.csv").write_text("file_name,text\na.png,nearer\nb.png,nearer\nc.png,nearer\n")
    good, _ = found(tmp_path)
    assert [(photo.caption, photo.caption_source) for photo in good.values()] == [
        ("txt", ".txt"), ("caption", ".caption"), ("nearer", "metadata.csv"), ("zkr dog", "folder name"),
    ]  # fmt: skip
    expected = "1 caption from .txt, 1 from .caption, 1 from metadata.csv, 1 from folder name"
    assert caption_sources(good.values()) == expected


def test_file_names_are_words_where_that_is_asked_for(tmp_path: Path) -> None:
    filled(tmp_path, "01 red hat.png", "IMG_2.png")
    subset = Subset(word="zkr", wording=Wording(file_names=True))
    assert [photo.caption for photo in found(tmp_path, subset)[0].values()] == ["zkr, red hat", "a photo of zkr"]
    assert [photo.caption for photo in found(tmp_path, Subset(word="zkr"))[0].values()] == ["a photo of zkr"] * 2


def test_a_chosen_extension_is_the_only_one(tmp_path: Path) -> None:
    filled(tmp_path, "a.png")
    (tmp_path / "a.txt").write_text("txt")
    (tmp_path / "a.tags").write_text("tags")
    for extension in ("tags", ".tags"):
        assert found(tmp_path, Subset(wording=Wording(extension=extension)))[0]["a.png"].caption == "tags"


def test_kohyas_folders_say_repeats_word_and_class(tmp_path: Path) -> None:
    filled(tmp_path, "img/10_zkr dog/a.png", "img/10_zkr dog/more/b.png", "img/3_abc/c.png", "reg/2_dog/d.png")
    good, skipped = found(tmp_path)
    said = {name: (p.subset.repeats, p.subset.word, p.subset.class_word, p.subset.prior) for name, p in good.items()}
    assert said == {
        "img/10_zkr dog/a.png": (10, "zkr", "dog", False), "img/10_zkr dog/more/b.png": (10, "zkr", "dog", False),
        "img/3_abc/c.png": (3, "abc", "", False), "reg/2_dog/d.png": (2, "", "dog", True),
    }  # fmt: skip
    assert [photo.caption for photo in good.values()] == ["zkr dog", "zkr dog", "abc", "dog"] and skipped == []


def test_a_folder_of_priors_that_is_itself_given_is_a_subject(tmp_path: Path) -> None:
    filled(tmp_path, "reg/2_dog/d.png")
    assert [photo.subset.prior for photo in found(tmp_path / "reg")[0].values()] == [False]
    with pytest.raises(TetradError, match="only prior pictures") as caught:
        listed(tmp_path)
    assert caught.value.code == "E4002"


def test_a_word_that_was_given_is_stronger_than_a_folders_name_but_priors_never_have_it(tmp_path: Path) -> None:
    filled(tmp_path, "10_zkr dog/a.png", "reg/1_dog/b.png")
    good, _ = found(tmp_path, Subset(word="new", class_word="cat"))
    assert [photo.caption for photo in good.values()] == ["a photo of new cat", "dog"]


def test_the_folder_that_is_given_may_itself_be_kohyas(tmp_path: Path) -> None:
    good, _ = photos(filled(tmp_path / "7_zkr dog", "a.png"))
    assert (good[0].subset.repeats, good[0].caption) == (7, "zkr dog")


@pytest.mark.parametrize("name", ["2024_summer", "01_front", "10", "10_", "10_!", "ten_zkr", "0_zkr", "_zkr"])
def test_other_names_with_numbers_are_plain_folders(tmp_path: Path, name: str) -> None:
    good, skipped = photos(filled(tmp_path, f"{name}/a.png", "b.png"))
    assert [photo.subset for photo in good] == [Subset(), Subset()] and skipped == []


def test_pictures_beside_kohyas_folders_are_left_out_and_named(tmp_path: Path) -> None:
    filled(tmp_path, "img/10_zkr/a.png", "model/sample/1.png", "model/sample/2.png", "loose.png")
    good, skipped = found(tmp_path)
    assert list(good) == ["img/10_zkr/a.png"]
    told = {(s.path.relative_to(tmp_path).as_posix(), s.code, s.reason.partition(" in no")[0]) for s in skipped}
    assert told == {("model/sample", "W4150", "its 2 pictures are"), (".", "W4150", "its picture is")}


@pytest.mark.parametrize("word,caption", [("", "a hat"), ("zkr", "zkr, a hat")])
def test_a_folders_name_is_not_put_into_captions_but_a_word_that_was_given_is(
    tmp_path: Path, word: str, caption: str
) -> None:
    filled(tmp_path, "10_images/a.png")
    (tmp_path / "10_images" / "a.txt").write_text("a hat")
    assert [photo.caption for photo in found(tmp_path, Subset(word=word))[0].values()] == [caption]


def test_what_is_there_twice_is_named(tmp_path: Path) -> None:
    filled(tmp_path, "a.png", "c.jpg")
    for name in ("b.png", "c.png"):
        (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "c.txt").write_text("a hat")
    listing = listed(tmp_path)
    same = [(s.path.name, s.code, s.reason) for s in gathered(listing, read(listing))[1]]
    assert same == [
        ("b.png", "W4155", "it is the same picture as a.png, which so counts twice"),
        ("c.png", "W4155", "it is the same picture as a.png, which so counts twice"),
        ("c.txt", "W4154", "2 pictures have this name, and all get this one caption"),
    ]


def test_priors_alone_are_not_enough(tmp_path: Path) -> None:
    filled(tmp_path, "reg/1_dog/b.png", "10_zkr/a.png")
    (tmp_path / "10_zkr" / "a.png").write_bytes(b"")
    with pytest.raises(TetradError, match=r"the only picture .* cannot be used; a\.png: .* empty") as caught:
        photos(tmp_path)
    assert caught.value.code == "E4003"


def test_a_listing_opens_no_picture_and_reading_it_gives_one_item_a_file(tmp_path: Path) -> None:
    filled(tmp_path, "a.png", "c.png")
    (tmp_path / "b.png").write_bytes(b"")
    listing = listed(tmp_path)
    assert len(listing) == 3
    assert [photo is not None for photo, _ in read(listing)] == [True, False, True]
