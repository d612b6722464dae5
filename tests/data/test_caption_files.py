"""Captions of any encoding are read, and the trigger word is always in them."""

from pathlib import Path

import pytest

from tetrad.data.captions.caption_files import RawCaption, make_caption_from_name, read_caption, read_caption_file
from tetrad.data.discover.subsets import Subset

CAT = "一只猫坐在沙发上"


def write_caption(folder: Path, content: bytes, suffix: str = ".txt") -> Path:
    (folder / f"a{suffix}").write_bytes(content)
    return folder / "a.png"


def caption_and_source(image: Path, trigger_word: str = "", class_word: str = "") -> tuple[str, str]:
    captions, raw_caption = Subset(trigger_word=trigger_word, class_word=class_word).make_captions(image, RawCaption())
    return captions.default_caption, raw_caption.source


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
    ("\ufeffa\u200b \u202ehat\u2069".encode(), "a hat"),
    ("👩\u200d🎨".encode(), "👩\u200d🎨"),
    (b"<script>alert(1)</script> {{7*7}} ${x}", "<script>alert(1)</script> {{7*7}} ${x}"),
])  # fmt: skip
def test_a_caption_file_is_read(tmp_path: Path, content: bytes, text: str) -> None:
    image = write_caption(tmp_path, content)
    assert caption_and_source(image) == (text, ".txt") and read_caption(image).problem is None


@pytest.mark.parametrize("suffix", [".txt", ".caption", ".TXT"])
def test_caption_files_have_one_of_several_extensions(tmp_path: Path, suffix: str) -> None:
    assert caption_and_source(write_caption(tmp_path, b"a hat", suffix)) == ("a hat", suffix.lower())


def test_only_the_last_extension_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.b.txt").write_text("a hat")
    assert caption_and_source(tmp_path / "a.b.png")[0] == "a hat"


@pytest.mark.parametrize("content", [b"", b"  \r\n\t\n", b"\xef\xbb\xbf", b"\0\0", b",,\n,"])
def test_an_empty_caption_file_is_no_caption(tmp_path: Path, content: bytes) -> None:
    assert caption_and_source(write_caption(tmp_path, content), "zkr")[1] == "trigger word"


def test_the_next_extension_is_tried_after_an_empty_txt(tmp_path: Path) -> None:
    write_caption(tmp_path, b"")
    assert caption_and_source(write_caption(tmp_path, b"a hat", ".caption")) == ("a hat", ".caption")


@pytest.mark.parametrize("content,code", [(b"a" * 100_001, "E4151"), (b"caf\xe9 \xff\xff\xff", "E4152")])
def test_a_caption_file_that_cannot_be_used_is_reported(tmp_path: Path, content: bytes, code: str) -> None:
    image = write_caption(tmp_path, content)
    problem = read_caption(image).problem
    assert caption_and_source(image, "zkr") == ("a photo of zkr", "trigger word") and problem and problem.code == code


def test_a_folder_is_not_a_caption_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    assert caption_and_source(tmp_path / "a.png", "zkr")[1] == "trigger word"


@pytest.mark.parametrize("trigger_word,class_word,text,source", [
    ("zkr", "", "a photo of zkr", "trigger word"),
    ("zkr", "dog", "a photo of zkr dog", "trigger word"),
    ("", "dog", "dog", "class word"),
])  # fmt: skip
def test_without_a_caption_file_the_trigger_and_class_word_are_the_caption(
    trigger_word: str, class_word: str, text: str, source: str
) -> None:
    assert caption_and_source(Path("nowhere/IMG_1.png"), trigger_word, class_word) == (text, source)


@pytest.mark.parametrize("stem,text", [
    ("red_hat-on table", "red hat on table"), ("my dog (3)", "my dog"), ("IMG_20240102_1", "a photo"),
    ("DSC0001", "a photo"), ("橘猫", "橘猫"), ("...", "a photo"),
])  # fmt: skip
def test_without_trigger_and_class_word_the_file_name_is_the_caption(stem: str, text: str) -> None:
    assert caption_and_source(Path(f"nowhere/{stem}.png")) == (text, "file name")


@pytest.mark.parametrize("text", ["zkr on a chair", "a ZKR, sitting", "the (zkr)", "zkr"])
def test_a_caption_with_the_trigger_word_is_unchanged(tmp_path: Path, text: str) -> None:
    assert caption_and_source(write_caption(tmp_path, text.encode()), "zkr", "dog") == (text, ".txt")


@pytest.mark.parametrize("text", ["a dog", "zkrs", "azkr", "zkr狗", "zkr_2"])
def test_the_trigger_word_is_put_in_front_of_captions_without_it(tmp_path: Path, text: str) -> None:
    assert caption_and_source(write_caption(tmp_path, text.encode()), "zkr", "dog") == (f"zkr, {text}", ".txt")


def test_a_trigger_word_is_not_a_regular_expression(tmp_path: Path) -> None:
    image = write_caption(tmp_path, b"a <zkr.1> zkr dog")
    assert caption_and_source(image, "<zkr.1>")[0] == "a <zkr.1> zkr dog"
    assert caption_and_source(image, "zk.")[0] == "zk., a <zkr.1> zkr dog"


@pytest.mark.parametrize("stem,pattern,text", [
    ("00012-0-a red hat", "", "a red hat"), ("00012-0-a red hat", r"[a-z]+", "a red hat"),
    ("12 Hat_01", r"\w+", "Hat_01"), ("x", r"\d+", ""),
])  # fmt: skip
def test_a_pattern_selects_the_words_of_a_file_name(stem: str, pattern: str, text: str) -> None:
    assert make_caption_from_name(stem, pattern) == text


def test_read_caption_file_keeps_line_breaks(tmp_path: Path) -> None:
    write_caption(tmp_path, b"a hat\r\n\r\nred,\n")
    assert read_caption_file(tmp_path / "a.txt")[0] == "a hat\nred"
