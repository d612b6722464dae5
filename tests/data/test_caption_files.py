"""A caption is read whatever its encoding, and the word that was given is always in it."""

from pathlib import Path

import pytest

from tetrad.data.caption_files import Words, beside, from_name, written
from tetrad.data.subsets import Subset

CAT = "一只猫坐在沙发上"


def put(folder: Path, content: bytes, suffix: str = ".txt") -> Path:
    (folder / f"a{suffix}").write_bytes(content)
    return folder / "a.png"


def words(image: Path, word: str = "", class_word: str = "") -> tuple[str, str]:
    captions, found = Subset(word=word, class_word=class_word).captions(image, Words())
    return captions.plain, found.source


@pytest.mark.parametrize("content,text", [
    (CAT.encode(), CAT),
    (CAT.encode("utf-8-sig"), CAT),
    (CAT.encode("utf-16"), CAT),
    (b"\xfe\xff" + CAT.encode("utf-16-be"), CAT),
    (CAT.encode("gb18030"), CAT),
    (b"a hat\r\nred\r\n", "a hat, red"),
    (b"a hat\rred", "a hat, red"),
    (b"a hat,\n\n  , red ,\n", "a hat, red"),
    (b"a\0 hat\0", "a hat"),
    (b"a\x1b[31m hat", "a[31m hat"),
    (b"  a\tred   hat ", "a red hat"),
    ("a\u3000hat\u00a0on".encode(), "a hat on"),
    (b"<script>alert(1)</script> {{7*7}} ${x}", "<script>alert(1)</script> {{7*7}} ${x}"),
])  # fmt: skip
def test_a_caption_file_is_read(tmp_path: Path, content: bytes, text: str) -> None:
    image = put(tmp_path, content)
    assert words(image) == (text, ".txt") and beside(image).problem is None


@pytest.mark.parametrize("suffix", [".txt", ".caption", ".TXT"])
def test_any_usual_suffix_is_a_caption(tmp_path: Path, suffix: str) -> None:
    assert words(put(tmp_path, b"a hat", suffix)) == ("a hat", suffix.lower())


def test_only_the_last_suffix_is_exchanged(tmp_path: Path) -> None:
    (tmp_path / "a.b.txt").write_text("a hat")
    assert words(tmp_path / "a.b.png")[0] == "a hat"


@pytest.mark.parametrize("content", [b"", b"  \r\n\t\n", b"\xef\xbb\xbf", b"\0\0", b",,\n,"])
def test_an_empty_caption_is_none(tmp_path: Path, content: bytes) -> None:
    assert words(put(tmp_path, content), "zkr")[1] == "word"


def test_an_empty_txt_leaves_the_caption_file_its_turn(tmp_path: Path) -> None:
    put(tmp_path, b"")
    assert words(put(tmp_path, b"a hat", ".caption")) == ("a hat", ".caption")


@pytest.mark.parametrize("content,code", [(b"a" * 100_001, "E4151"), (b"caf\xe9 \xff\xff\xff", "E4152")])
def test_a_caption_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, code: str) -> None:
    image = put(tmp_path, content)
    problem = beside(image).problem
    assert words(image, "zkr") == ("a photo of zkr", "word") and problem and problem.code == code


def test_a_folder_is_no_caption(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    assert words(tmp_path / "a.png", "zkr")[1] == "word"


@pytest.mark.parametrize("word,class_word,text,source", [
    ("zkr", "", "a photo of zkr", "word"),
    ("zkr", "dog", "a photo of zkr dog", "word"),
    ("", "dog", "dog", "class word"),
])  # fmt: skip
def test_without_a_file_the_words_are_the_caption(word: str, class_word: str, text: str, source: str) -> None:
    assert words(Path("nowhere/IMG_1.png"), word, class_word) == (text, source)


@pytest.mark.parametrize("stem,text", [
    ("red_hat-on table", "red hat on table"), ("my dog (3)", "my dog"), ("IMG_20240102_1", "a photo"),
    ("DSC0001", "a photo"), ("橘猫", "橘猫"), ("...", "a photo"),
])  # fmt: skip
def test_without_any_word_the_name_is_the_caption(stem: str, text: str) -> None:
    assert words(Path(f"nowhere/{stem}.png")) == (text, "file name")


@pytest.mark.parametrize("text", ["zkr on a chair", "a ZKR, sitting", "the (zkr)", "zkr"])
def test_a_caption_with_the_word_stays_as_it_is(tmp_path: Path, text: str) -> None:
    assert words(put(tmp_path, text.encode()), "zkr", "dog") == (text, ".txt")


@pytest.mark.parametrize("text", ["a dog", "zkrs", "azkr", "zkr狗", "zkr_2"])
def test_a_caption_without_the_word_gets_it_in_front(tmp_path: Path, text: str) -> None:
    assert words(put(tmp_path, text.encode()), "zkr", "dog") == (f"zkr, {text}", ".txt")


def test_a_word_is_not_a_pattern(tmp_path: Path) -> None:
    image = put(tmp_path, b"a <zkr.1> zkr dog")
    assert words(image, "<zkr.1>")[0] == "a <zkr.1> zkr dog"
    assert words(image, "zk.")[0] == "zk., a <zkr.1> zkr dog"


@pytest.mark.parametrize("stem,pattern,text", [
    ("00012-0-a red hat", "", "a red hat"), ("00012-0-a red hat", r"[a-z]+", "a red hat"),
    ("12 Hat_01", r"\w+", "Hat_01"), ("x", r"\d+", ""),
])  # fmt: skip
def test_a_pattern_finds_the_words_in_a_name(stem: str, pattern: str, text: str) -> None:
    assert from_name(stem, pattern) == text


def test_lines_stay_lines_until_a_caption_is_made(tmp_path: Path) -> None:
    put(tmp_path, b"a hat\r\n\r\nred,\n")
    assert written(tmp_path / "a.txt")[0] == "a hat\nred"
