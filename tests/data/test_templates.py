"""A template is a set, a file or a line; images without a caption get lines without [filewords]."""

from pathlib import Path

import pytest

from tetrad.data.captions.caption_files import RawCaption
from tetrad.data.captions.templates import TEMPLATE_SETS, check_template_has_name, find_unknown_text, load_template
from tetrad.data.discover.subsets import Subset
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.settings import CaptionSettings


@pytest.mark.parametrize("name", TEMPLATE_SETS)
def test_every_line_of_a_built_in_set_has_the_name_once(name: str) -> None:
    template = load_template(name)
    assert len(set(template.lines)) == len(template.lines) >= 10
    assert all(line.count("[name]") == 1 for line in (*template.lines, *template.lines_without_caption))
    assert all(line.count("[filewords]") == int("filewords" in name) for line in template.lines)
    assert not any("[filewords]" in line for line in template.lines_without_caption)
    check_template_has_name(name, "zkr")


def possible_captions(template: str, caption: str, trigger_word: str = "zkr") -> set[str]:
    subset = Subset(trigger_word=trigger_word, caption_settings=CaptionSettings(template=template))
    raw_caption = RawCaption(caption, "metadata.csv" if caption else "")
    captions, _ = subset.make_captions(Path("nowhere/IMG_1.png"), raw_caption)
    return {captions.sample(generator(0, step, "caption")) for step in range(300)}


@pytest.mark.parametrize("name", TEMPLATE_SETS)
@pytest.mark.parametrize("caption", ["a red hat", ""])
def test_every_caption_of_a_set_is_complete(name: str, caption: str) -> None:
    captions = possible_captions(name, caption)
    assert len(captions) >= 10
    for text in captions:
        assert "zkr" in text and "[" not in text and ", ," not in text and text == text.strip(" ,")
        assert (caption in text) == ("filewords" in name and bool(caption)) or not caption


@pytest.mark.parametrize("use_templates,count", [(False, 1), (True, len(TEMPLATE_SETS["subject"].lines))])
def test_a_trigger_word_alone_gives_one_caption_or_the_subject_templates(use_templates: bool, count: int) -> None:
    captions, raw_caption = Subset(trigger_word="zkr", use_subject_templates=use_templates).make_captions(
        Path("nowhere/IMG_1.png"), RawCaption()
    )
    texts = {captions.sample(generator(0, step, "caption")) for step in range(300)}
    assert (captions.default_caption, raw_caption.source, len(texts)) == ("a photo of zkr", "trigger word", count)


def test_a_template_may_be_a_file_of_lines(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("art of [name]\n\n  [filewords] by [name] \n")
    assert load_template(str(file)).lines == ("art of [name]", "[filewords] by [name]")
    assert possible_captions(str(file), "a hat") == {"art of zkr", "a hat by zkr"}
    assert possible_captions(str(file), "") == {"art of zkr"}


@pytest.mark.parametrize("line", ["a photo of [name]", "[filewords]", "a photo of sks dog"])
def test_a_template_may_be_one_line(line: str) -> None:
    assert load_template(line).lines == (line,)


def test_filewords_come_from_the_file_name_without_a_caption() -> None:
    subset = Subset(trigger_word="zkr", caption_settings=CaptionSettings(template="[name], [filewords]"))
    captions, raw_caption = subset.make_captions(Path("nowhere/03 red hat.png"), RawCaption())
    assert (captions.default_caption, raw_caption.source) == ("zkr, red hat", "file name")


@pytest.mark.parametrize("line", ["[fileword], by [name]", "[FileWords], by [NAME]", "[ filewords ], by [ name ]"])
def test_placeholders_may_be_written_in_several_ways(line: str) -> None:
    assert possible_captions(line, "a hat") == {"a hat, by zkr"}
    assert load_template(line).uses_caption and find_unknown_text(line) == {}
    check_template_has_name(line, "")


@pytest.mark.parametrize("line,unknown", [
    ("a [photo] of [name]", ["[photo]"]), ("[names] and [file words]", ["[names]", "[file words]"]),
    ("[name, a hat", ["[name, a hat"]), ("[] by [name]", ["[]"]), ("(name) {name} <name> [name]", []),
    ("[[name]]", []), ("subject_filewords", []),
])  # fmt: skip
def test_square_brackets_that_are_no_placeholder_are_found(line: str, unknown: list[str]) -> None:
    assert list(find_unknown_text(line)) == unknown


@pytest.mark.parametrize("template,code,message", [
    ("subjct", "E3142", "subject_filewords"), ("gone.txt", "E3142", "no template file"), ("picture", "E3142", "a line"),
])  # fmt: skip
def test_an_unknown_template_is_refused(template: str, code: str, message: str) -> None:
    with pytest.raises(TetradError, match=message) as caught:
        load_template(template)
    assert caught.value.code == code and "\n" not in caught.value.message


@pytest.mark.parametrize(
    "content,message", [(b" \n\n", "no lines"), (b"\xff\xff\xffa", "UTF-8"), (b"a" * 100_001, "100 kB")]
)
def test_a_template_file_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(TetradError, match=message) as caught:
        load_template(str(tmp_path / "mine.txt"))
    assert caught.value.code == "E3143"


@pytest.mark.parametrize("template,is_valid", [
    ("", True), ("a photo of [name]", True), ("a photo of [NAME]", True), ("a photo of zkr", True),
    ("a photo of a dog", False), ("[filewords]", False),
])  # fmt: skip
def test_every_template_line_must_have_the_trigger_word_for_textual_inversion(template: str, is_valid: bool) -> None:
    if is_valid:
        check_template_has_name(template, "zkr")
        return
    with pytest.raises(TetradError, match=r"has no \[name\]") as caught:
        check_template_has_name(template, "zkr")
    assert caught.value.code == "E3141"
