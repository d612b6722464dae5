"""Messages: templates with named values that are translated as a whole."""

import ast
import errno
import gettext
import json
import os
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

import tetrad
from tetrad import locales
from tetrad.documents import parse_json, parse_toml
from tetrad.errors import TetradError, naming_file
from tetrad.locales import (
    Message,
    Plural,
    in_english,
    language,
    ngettext,
    pad,
    split_at_line_breaks,
    translate,
    width_of,
    wrap,
)

VARIABLES = ("TETRAD_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
SOURCES = sorted(Path(tetrad.__file__).parent.rglob("*.py"))


class Backwards(gettext.NullTranslations):
    """A translation that reverses the order of the words."""

    def gettext(self, message: str) -> str:
        return " ".join(reversed(message.split(" ")))

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)


def test_a_message_is_its_template_with_the_values_filled_in() -> None:
    assert str(Message("{file} holds {count} images", file="a.zip", count=3)) == "a.zip holds 3 images"
    assert str(Message("nothing to fill in, {braces} stay")) == "nothing to fill in, {braces} stay"


@pytest.mark.parametrize("count,text", [(0, "0 files in x"), (1, "1 file in x"), (2, "2 files in x")])
def test_a_plural_depends_on_its_number(count: int, text: str) -> None:
    message = Message(ngettext("{count} file in {folder}", "{count} files in {folder}", count), folder="x")
    assert isinstance(message.template, Plural) and str(message) == text


def test_a_value_may_be_a_message() -> None:
    inner = Message(ngettext("{count} step", "{count} steps", 2))
    assert str(Message("trained for {length}", length=inner)) == "trained for 2 steps"


def test_a_message_and_the_messages_in_it_are_translated_when_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Message(ngettext("{count} step", "{count} steps", 1))
    message = Message("trained for {length}", length=inner)
    error = TetradError("E9999", "{reason} in {file}", reason=message, file="a b")
    monkeypatch.setattr(locales, "catalogue", lambda name: Backwards())
    assert str(message) == "step 1 for trained"
    assert error.message == "a b in step 1 for trained" and str(error) == f"E9999 {error.message}"
    assert translate("") == ""


def test_control_characters_of_a_value_are_escaped() -> None:
    assert str(Message("{file}", file="a\n\x1b[31mb\u202e模")) == "a\\n\\x1b[31mb\\u202e模"


def test_a_number_can_be_formatted() -> None:
    assert str(Message("{rate:g} of {share:.0%}", rate=1e-5, share=0.5)) == "1e-05 of 50%"


@pytest.mark.parametrize(
    "variables,name",
    [
        ({}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "TETRAD_LANG": "en"}, "en"),
        ({"LANG": "en_US.UTF-8", "TETRAD_LANG": "zh_CN"}, "zh_CN"),
        ({"TETRAD_LANG": "xx"}, "en"),
    ],
)
def test_the_language_is_that_of_tetrad_lang_or_of_the_locale(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str
) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr("locale.getlocale", lambda: (None, None))
    assert language() == name


@pytest.mark.parametrize("name", locales.LANGUAGES)
def test_a_message_without_a_translation_is_shown_in_english(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TETRAD_LANG", name)
    assert str(Message("no catalogue has {word}", word="zkr")) == "no catalogue has zkr"
    assert str(Message(ngettext("{count} zkr here", "{count} zkrs here", 2))) == "2 zkrs here"


def test_a_record_is_json_with_everything_a_translation_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_LANG", "zh_CN")  # records are for programs, so their text is English everywhere
    inner = Message(ngettext("{count} step", "{count} steps", 2))
    message = Message("{file} after {length}", file=Path("a.png"), length=inner, sizes=(1, 2), none=None)
    record = json.loads(json.dumps(message.as_record()))
    assert record["text"] == "a.png after 2 steps" and record["template"] == "{file} after {length}"
    assert record["values"] == {
        "file": "a.png",
        "length": {"text": "2 steps", "template": "{count} steps", "singular": "{count} step", "values": {"count": 2}},
        "sizes": [1, 2],
        "none": None,
    }


def test_an_error_about_a_file_names_the_file_once() -> None:
    with pytest.raises(TetradError) as caught, naming_file(Path("folder/a.pt")):
        raise TetradError("E5108", "{count} tensors too many", count=2)
    assert caught.value.message == "a.pt: 2 tensors too many" and caught.value.code == "E5108"
    with pytest.raises(TetradError) as caught, naming_file(Path("folder/a.pt")):
        raise TetradError("E5001", "there is no {path}", path="folder/a.pt")
    assert caught.value.message == "there is no folder/a.pt"


def called(node: ast.AST) -> str:
    return getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""


def marked(node: ast.Call, file: ast.Module) -> ast.Call | None:
    """The call that marks the template of a message: an argument, or the last assignment to a variable that is one."""
    for argument in node.args:
        if isinstance(argument, ast.Name):
            before = [
                each.value
                for each in ast.walk(file)
                if isinstance(each, ast.Assign | ast.AnnAssign)
                and each.value is not None
                and each.lineno < node.lineno
                and ast.unparse(each.target if isinstance(each, ast.AnnAssign) else each.targets[0]) == argument.id
            ]
            argument = max(before, key=lambda value: value.lineno, default=argument)
        if isinstance(argument, ast.Call) and called(argument) in ("_", "ngettext"):
            return argument
    return None


def templates() -> Iterator[tuple[str, set[str], set[str]]]:
    """Each use of a template: its place, the names in the template, and the names of the values."""
    for path in SOURCES:
        file = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(file):
            if called(node) not in ("Message", "TetradError") or not isinstance(node, ast.Call):
                continue
            template = marked(node, file)
            if template is None or any(keyword.arg is None for keyword in node.keywords):
                continue
            forms = [form.value for form in template.args if isinstance(form, ast.Constant)]
            names = {name for form in forms for _text, name, *_rest in string.Formatter().parse(form) if name}
            counted = {"count"} if called(template) == "ngettext" else set()
            yield f"{path.name}:{node.lineno}", names, {str(keyword.arg) for keyword in node.keywords} | counted


def test_every_template_gets_exactly_the_values_it_names() -> None:
    found = list(templates())
    assert len(found) > 80
    assert not {place: names ^ given for place, names, given in found if (names ^ given) - ({"count"} - names)}


def test_a_chinese_character_takes_two_columns() -> None:
    assert [width_of(text) for text in ("", "abc", "一二", "a，é", "e\u0301")] == [0, 3, 4, 4, 1]
    assert pad("步数", 6) == "步数  " and pad("steps", 2) == "steps"


def test_lines_are_wrapped_by_columns() -> None:
    assert wrap("一二三四五六", 8) == ["一二三四", "五六"]
    assert wrap("one two three", 8) == ["one two", "three"]
    assert wrap("abcdefghij kl", 4) == ["abcd", "efgh", "ij", "kl"]
    assert wrap("", 8) == [""]


def test_no_line_begins_with_closing_or_ends_with_opening_punctuation() -> None:
    assert wrap("一二三四，五", 8) == ["一二三", "四，五"]
    assert wrap("一二三（四）", 8) == ["一二三", "（四）"]
    assert list(split_at_line_breaks("用 a_b、“c d”。")) == ["用 ", "a_b、", "“c ", "d”。"]
    assert "".join(split_at_line_breaks("a cat 一只猫 x")) == "a cat 一只猫 x"


def test_what_the_system_and_parsers_say_is_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_LANG", "zh_CN")
    assert str(Message("{reason}", reason=os.strerror(errno.ENOSPC))) == "设备上没有剩余空间"
    for parse, text in ((parse_toml, "[train]\nsteps 5"), (parse_json, '{"a": }'), (parse_toml, "a = [1")):
        with pytest.raises(ValueError) as caught:
            parse(text)
        assert str(caught.value) != in_english(caught.value.args[0])
        assert not re.search(r"[a-z]+ [a-z]+ [a-z]+", str(caught.value))
