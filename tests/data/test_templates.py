"""Templates are a set, a file or a line; each says the word, and pictures without words get lines that ask for none."""

from pathlib import Path

import pytest

from tetrad.data.caption_files import Words
from tetrad.data.captions import Wording
from tetrad.data.subsets import Subset
from tetrad.data.templates import SETS, check_named, template
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError


@pytest.mark.parametrize("name", SETS)
def test_our_sets_say_the_word_once_a_line_and_read_words_by_their_name(name: str) -> None:
    used = template(name)
    assert len(set(used.lines)) == len(used.lines) >= 10
    assert all(line.count("[name]") == 1 for line in (*used.lines, *used.wordless))
    assert all(line.count("[filewords]") == int("filewords" in name) for line in used.lines)
    assert not any("[filewords]" in line for line in used.wordless)
    check_named(name, "zkr")


def captions(chosen: str, words: str, word: str = "zkr") -> set[str]:
    subset = Subset(word=word, wording=Wording(template=chosen))
    made, _ = subset.captions(Path("nowhere/IMG_1.png"), Words(words, "metadata.csv" if words else ""))
    return {made.draw(generator(0, step, "caption")) for step in range(300)}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("words", ["a red hat", ""])
def test_every_caption_of_a_set_is_whole(name: str, words: str) -> None:
    shown = captions(name, words)
    assert len(shown) >= 10
    for text in shown:
        assert "zkr" in text and "[" not in text and ", ," not in text and text == text.strip(" ,")
        assert (words in text) == ("filewords" in name and bool(words)) or not words


@pytest.mark.parametrize("varied,number", [(False, 1), (True, len(SETS["subject"].lines))])
def test_a_word_alone_is_said_in_one_sentence_or_in_many(varied: bool, number: int) -> None:
    made, words = Subset(word="zkr", varied=varied).captions(Path("nowhere/IMG_1.png"), Words())
    shown = {made.draw(generator(0, step, "caption")) for step in range(300)}
    assert (made.plain, words.source, len(shown)) == ("a photo of zkr", "word", number)


def test_a_file_gives_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("art of [name]\n\n  [filewords] by [name] \n")
    assert template(str(file)).lines == ("art of [name]", "[filewords] by [name]")
    assert captions(str(file), "a hat") == {"art of zkr", "a hat by zkr"}
    assert captions(str(file), "") == {"art of zkr"}


@pytest.mark.parametrize("line", ["a photo of [name]", "[filewords]", "a photo of sks dog"])
def test_a_line_is_a_template(line: str) -> None:
    assert template(line).lines == (line,)


def test_a_name_is_read_where_a_template_asks_for_words() -> None:
    subset = Subset(word="zkr", wording=Wording(template="[name], [filewords]"))
    made, words = subset.captions(Path("nowhere/03 red hat.png"), Words())
    assert (made.plain, words.source) == ("zkr, red hat", "file name")


@pytest.mark.parametrize("chosen,code,saying", [
    ("subjct", "E3142", "subject_filewords"), ("gone.txt", "E3142", "no template file"), ("picture", "E3142", "a line"),
])  # fmt: skip
def test_what_is_no_template_is_named(chosen: str, code: str, saying: str) -> None:
    with pytest.raises(TetradError, match=saying) as caught:
        template(chosen)
    assert caught.value.code == code and "\n" not in caught.value.message


@pytest.mark.parametrize(
    "content,saying", [(b" \n\n", "no line"), (b"\xff\xff\xffa", "UTF-8"), (b"a" * 100_001, "100 kB")]
)
def test_a_template_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, saying: str) -> None:
    (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(TetradError, match=saying) as caught:
        template(str(tmp_path / "mine.txt"))
    assert caught.value.code == "E3143"


@pytest.mark.parametrize("chosen,good", [
    ("", True), ("a photo of [name]", True), ("a photo of [NAME]", True), ("a photo of zkr", True),
    ("a photo of a dog", False), ("[filewords]", False),
])  # fmt: skip
def test_a_template_must_say_the_word_where_nothing_else_learns(chosen: str, good: bool) -> None:
    if good:
        check_named(chosen, "zkr")
        return
    with pytest.raises(TetradError, match=r"has no \[name\]") as caught:
        check_named(chosen, "zkr")
    assert caught.value.code == "E3141"
