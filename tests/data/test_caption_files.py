"""A caption is read whatever its encoding, and the word that was given is always in it."""

from pathlib import Path

import pytest

from tetrad.data.caption_files import caption

CAT = "一只猫坐在沙发上"


def beside(folder: Path, content: bytes, suffix: str = ".txt") -> Path:
    (folder / f"a{suffix}").write_bytes(content)
    return folder / "a.png"


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
    found = caption(beside(tmp_path, content))
    assert (found.text, found.source, found.problem) == (text, "file", None)


@pytest.mark.parametrize("suffix", [".txt", ".caption", ".TXT"])
def test_any_usual_suffix_is_a_caption(tmp_path: Path, suffix: str) -> None:
    assert caption(beside(tmp_path, b"a hat", suffix)).text == "a hat"


def test_only_the_last_suffix_is_exchanged(tmp_path: Path) -> None:
    (tmp_path / "a.b.txt").write_text("a hat")
    assert caption(tmp_path / "a.b.png").text == "a hat"


@pytest.mark.parametrize("content", [b"", b"  \r\n\t\n", b"\xef\xbb\xbf", b"\0\0", b",,\n,"])
def test_an_empty_caption_is_none(tmp_path: Path, content: bytes) -> None:
    assert caption(beside(tmp_path, content), "zkr").source == "word"


def test_an_empty_txt_leaves_the_caption_file_its_turn(tmp_path: Path) -> None:
    beside(tmp_path, b"")
    assert caption(beside(tmp_path, b"a hat", ".caption")).text == "a hat"


@pytest.mark.parametrize("content,code", [(b"a" * 100_001, "E4151"), (b"caf\xe9 \xff\xff\xff", "E4152")])
def test_a_caption_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, code: str) -> None:
    found = caption(beside(tmp_path, content), "zkr")
    assert (found.text, found.problem and found.problem.code) == ("a photo of zkr", code)


def test_a_folder_is_no_caption(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    assert caption(tmp_path / "a.png", "zkr").source == "word"


@pytest.mark.parametrize("word,class_word,text,source", [
    ("zkr", "", "a photo of zkr", "word"),
    ("zkr", "dog", "a photo of zkr dog", "word"),
    ("", "dog", "dog", "class"),
])  # fmt: skip
def test_without_a_file_the_words_are_the_caption(word: str, class_word: str, text: str, source: str) -> None:
    found = caption(Path("nowhere/IMG_1.png"), word, class_word)
    assert (found.text, found.source) == (text, source)


@pytest.mark.parametrize("stem,text", [
    ("red_hat-on table", "red hat on table"), ("my dog (3)", "my dog"), ("IMG_20240102_1", "a photo"),
    ("DSC0001", "a photo"), ("橘猫", "橘猫"), ("...", "a photo"),
])  # fmt: skip
def test_without_any_word_the_name_is_the_caption(stem: str, text: str) -> None:
    found = caption(Path(f"nowhere/{stem}.png"))
    assert (found.text, found.source) == (text, "name")


@pytest.mark.parametrize("text", ["zkr on a chair", "a ZKR, sitting", "the (zkr)", "zkr"])
def test_a_caption_with_the_word_stays_as_it_is(tmp_path: Path, text: str) -> None:
    found = caption(beside(tmp_path, text.encode()), "zkr", "dog")
    assert (found.text, found.source) == (text, "file")


@pytest.mark.parametrize("text", ["a dog", "zkrs", "azkr", "zkr狗", "zkr_2"])
def test_a_caption_without_the_word_gets_it_in_front(tmp_path: Path, text: str) -> None:
    found = caption(beside(tmp_path, text.encode()), "zkr", "dog")
    assert (found.text, found.source) == (f"zkr, {text}", "file+word")


def test_a_word_is_not_a_pattern(tmp_path: Path) -> None:
    image = beside(tmp_path, b"a <zkr.1> zkr dog")
    assert caption(image, "<zkr.1>").source == "file"
    assert caption(image, "zk.").source == "file+word"
