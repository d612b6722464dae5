"""The catalogues have a translation of every message, and each keeps the values of its template."""

import ast
import re
import string
from functools import cache
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import write_po
from messages import SOURCES

from tetrad import locales
from tools import messages
from tools.messages import MessageId, catalogue_path, update_catalogue

TRANSLATED = [name for name in locales.LANGUAGES if name != "en"]
read_catalogue = cache(messages.read_catalogue)


@cache
def templates() -> frozenset[MessageId]:
    return frozenset(messages.extract_messages())


def entries(name: str) -> dict[MessageId, Message]:
    """The entries of a catalogue, without its header."""
    catalogue = read_catalogue(name)
    return {tuple(each.id) if isinstance(each.id, tuple | list) else each.id: each for each in catalogue if each.id}


def forms(text: str | tuple[str, ...] | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


def values_in(text: str) -> set[tuple[str, str, str]]:
    """The placeholders of a template: name, format and conversion.  A text may also have braces of another meaning."""
    try:
        return {
            (name, spec or "", conversion or "")
            for _text, name, spec, conversion in string.Formatter().parse(text)
            if name is not None
        }
    except ValueError:
        return {(letter, "", "") for letter in text if letter in "{}"}


def test_the_templates_are_found_and_each_has_readable_values() -> None:
    assert len(templates()) > 200
    texts = [form for template in templates() for form in forms(template)]
    assert not [text for text in texts if any(not name for name, _spec, _conversion in values_in(text))]


def test_every_marked_template_is_found_wherever_it_stands() -> None:
    """Babel does not see into every f-string."""
    found = {form for template in templates() for form in forms(template)}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
                assert isinstance(node.args[0], ast.Constant) and node.args[0].value in found, f"{path}:{node.lineno}"


def test_the_messages_use_the_terms_of_the_field() -> None:
    """Image, not picture; generate, not draw; train, not teach or learn."""
    other_words = re.compile(r"\b(pictures?|draws?|drawn|teach|teaches|taught|learns?|learned|learnt)\b", re.IGNORECASE)
    assert not [each for each in templates() if any(other_words.search(form) for form in forms(each))]


@pytest.mark.parametrize("name", TRANSLATED)
def test_every_message_is_translated(name: str) -> None:
    known = entries(name)
    missing = [each for each in templates() if each not in known or not all(forms(known[each].string))]
    assert not missing, f"{len(missing)} of {len(templates())} messages; run scripts/messages, then translate them"


@pytest.mark.parametrize("name", TRANSLATED)
def test_no_translation_is_obsolete(name: str) -> None:
    assert not set(entries(name)) - templates() and not read_catalogue(name).obsolete


@pytest.mark.parametrize("name", TRANSLATED)
def test_no_translation_is_fuzzy(name: str) -> None:
    catalogue = read_catalogue(name)
    assert not catalogue.fuzzy and not [each.id for each in entries(name).values() if each.fuzzy]


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_translation_has_the_values_of_its_template(name: str) -> None:
    """A plural is translated with all its values; where a language has a singular, the number may be left out."""
    assert entries(name)
    for template, entry in entries(name).items():
        *singular, plural = map(values_in, forms(template))
        allowed = [plural, *singular] if len(forms(entry.string)) > 1 else [plural]
        assert all(values_in(text) in allowed for text in forms(entry.string) if text), entry.id


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_translation_begins_and_ends_like_its_template(name: str) -> None:
    """Blanks and line breaks at both ends are layout."""
    assert entries(name)
    for template, entry in entries(name).items():
        plural = forms(template)[-1]
        for text in filter(None, forms(entry.string)):
            assert (text[0].isspace(), text[-1].isspace()) == (plural[0].isspace(), plural[-1].isspace()), entry.id


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_catalogue_knows_its_language_and_its_plurals(name: str) -> None:
    catalogue = read_catalogue(name)
    assert catalogue.locale_identifier == name and catalogue.charset in (None, "utf-8")
    assert all(len(forms(each.string)) == catalogue.num_plurals for each in entries(name).values() if each.pluralizable)


def test_an_update_keeps_translations_and_drops_obsolete_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "PACKAGE", tmp_path)
    (tmp_path / "code.py").write_text('_("old"), _("new"), ngettext("{count} file", "{count} files", 2)')
    before = Catalog("zh_CN")
    before.add("old", "旧")
    before.add("obsolete", "废")
    catalogue_path("zh_CN").parent.mkdir(parents=True)
    with catalogue_path("zh_CN").open("wb") as file:
        write_po(file, before)
    after = {each.id: each.string for each in update_catalogue("zh_CN") if each.id}
    assert after == {"old": "旧", "new": "", ("{count} file", "{count} files"): ("",)}
