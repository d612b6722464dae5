"""Translate messages: English templates with named values in the code, and a gettext catalogue for each language.

`_("… {path} …")` marks a template for `scripts/messages`, which extracts it into the catalogues. `Message` holds a
template and its values, and is translated when it is shown. TETRAD_LANG sets the language, otherwise the locale does;
the web page sets one for each request with `use_language`. `translate_record` shows what `Message.as_record` stored.
`columns` aligns and wraps text in which some characters take two columns; `system_reasons` has the translations of
what the operating system and Python say, such as "Permission denied".
"""

import gettext as catalogues
import locale
import os
import unicodedata
from collections.abc import Mapping
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tetrad.locales.columns import pad, split_at_line_breaks, width_of, wrap

HERE = Path(__file__).parent
DOMAIN = "tetrad"
LANGUAGES = ("en", "zh_CN")
MAX_SHOWN_LETTERS = 4000  # of one value in a message; a path has no more
_chosen: ContextVar[str] = ContextVar("language", default="")
__all__ = [
    "LANGUAGES",
    "Message",
    "Plural",
    "_",
    "fill",
    "fill_plural",
    "in_english",
    "language",
    "list_forms",
    "message_from_record",
    "ngettext",
    "pad",
    "presentable",
    "recordable",
    "split_at_line_breaks",
    "translate",
    "translate_record",
    "use_language",
    "width_of",
    "wrap",
]


def _(template: str) -> str:
    """Mark a template for translation; it is translated when it is shown."""
    return template


class Plural(str):
    """A template with a singular and a plural form; its text is the plural."""

    singular: str
    number: int


def ngettext(singular: str, plural: str, count: int) -> Plural:
    """Mark a template with a singular and a plural form; `{count}` in it is the number."""
    template = Plural(plural)
    template.singular, template.number = singular, count
    return template


@dataclass(frozen=True, init=False)
class Message:
    """A template and its values, which may be messages too.  `str` is the text in the reader's language."""

    template: str
    values: Mapping[str, Any] = field(hash=False)  # equal messages are one key of a dict

    def __init__(self, template: str, /, **values: Any) -> None:
        if isinstance(template, Plural):
            values = {"count": template.number, **values}
        object.__setattr__(self, "template", template)
        object.__setattr__(self, "values", {name: _unwrap(value) for name, value in values.items()})

    def with_values(self, **values: Any) -> "Message":
        """The same message with other values."""
        return Message(self.template, **{**self.values, **values})

    def __str__(self) -> str:
        text = translate(self.template)
        if not self.values:
            return text
        return text.format_map({name: show_value(value) for name, value in self.values.items()})

    def as_record(self) -> dict[str, Any]:
        """The English text, its template and its values, for programs, which may translate it themselves."""
        record: dict[str, Any] = {"text": in_english(self), "template": str(self.template)}
        if isinstance(self.template, Plural):
            record["singular"] = self.template.singular
        if self.values:
            record["values"] = {name: recordable(value) for name, value in self.values.items()}
        return record


def _unwrap(value: Any) -> Any:
    """The message that an exception was raised with, which would be text of one language from here on."""
    is_of_message = isinstance(value, Exception) and len(value.args) == 1 and isinstance(value.args[0], Message)
    return value.args[0] if is_of_message else value


def translate(template: str) -> str:
    """A template in the reader's language, or unchanged if the catalogue does not have it."""
    found = catalogue(language())
    if isinstance(template, Plural):
        return found.ngettext(template.singular, str(template), template.number)
    return found.gettext(template) if template else ""


def use_language(name: str) -> None:
    """Show messages in one of LANGUAGES from here on, in this thread or task and in those that it starts."""
    _chosen.set(name)


def language() -> str:
    """One of LANGUAGES: as `use_language` says, or else TETRAD_LANG, or else the locale, or else English."""
    if chosen := _chosen.get():
        return chosen
    names = [os.environ.get(name, "") for name in ("TETRAD_LANG", "LC_ALL", "LC_MESSAGES", "LANG")]
    wanted = next((name for name in names if name), "") or (locale.getlocale()[0] or "")
    return "zh_CN" if wanted.lower().startswith(("zh", "chinese")) else "en"


def fill(template: str, /, **values: Any) -> str:
    """A template in the reader's language with its values: `_` of the web page's templates."""
    return str(Message(template, **values))


def fill_plural(singular: str, plural: str, count: int, /, **values: Any) -> str:
    """A template with a plural form in the reader's language: `ngettext` of the web page's templates."""
    return str(Message(ngettext(singular, plural, count), **values))


def list_forms(template: str | tuple[str, str], name: str) -> list[str]:
    """The translations of a template into a language: one, or those for one and for several."""
    found = catalogue(name)
    return [found.gettext(template)] if isinstance(template, str) else [found.ngettext(*template, n) for n in (1, 2)]


def translate_record(record: Mapping[str, Any]) -> str:
    """The text of a message that `Message.as_record` stored, in the reader's language.

    Only a template that the catalogue has is filled with the values; of any other the English text is shown.
    """
    text = str(presentable(record.get("text", "")))
    template, values = record.get("template"), record.get("values") or {}
    if language() == "en" or not template or not isinstance(template, str) or not isinstance(values, Mapping):
        return text
    singular, found = record.get("singular"), _known_only(language())
    known = found.ngettext(singular, template, 2) if isinstance(singular, str) else found.gettext(template)
    if not known:
        return text
    try:
        return known.format_map({name: _show_recorded(value) for name, value in values.items()}) if values else known
    except (LookupError, ValueError, AttributeError):  # values of another version, or changed by hand
        return text


def _show_recorded(value: Any) -> Any:
    return translate_record(value) if isinstance(value, Mapping) else show_value(value)


def show_value(value: Any) -> Any:
    """A value of a message: what the system says in the reader's language, anything else `presentable`."""
    from tetrad.locales.system_reasons import templates_by_reason  # which marks its templates with `_`

    template = templates_by_reason().get(value) if type(value) is str else None
    return translate(template) if template else presentable(value)


@cache
def catalogue(name: str) -> catalogues.NullTranslations:
    return catalogues.translation(DOMAIN, HERE, [name], fallback=True)


class _Unknown(catalogues.NullTranslations):
    """Has no template."""

    def gettext(self, message: str) -> str:
        return ""

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return ""


@cache
def _known_only(name: str) -> catalogues.NullTranslations:
    """The catalogue, but with "" for a template that it does not have: some translations are as their template."""
    known = copy(catalogue(name))
    known.add_fallback(_Unknown())
    return known


def presentable(value: Any) -> Any:
    """A value that is safe to show: control characters and half characters are escaped, and a long text is cut.

    It is the only place that makes names printable: of files, keys, and whatever else people and programs chose.
    """
    if isinstance(value, int | float):
        return value
    text = str(value)
    if len(text) > MAX_SHOWN_LETTERS and not isinstance(value, Message):
        text = text[:MAX_SHOWN_LETTERS] + "…"
    return text if text.isprintable() else "".join(map(show_letter, text))


def show_letter(letter: str) -> str:
    is_space = unicodedata.category(letter) == "Zs"  # the wide space of Chinese texts, for example
    return letter if is_space or letter.isprintable() else escape(letter)


def escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def recordable(value: Any) -> Any:
    """A value that JSON can hold."""
    if isinstance(value, Message):
        return value.as_record()
    if isinstance(value, list | tuple):
        return [recordable(item) for item in value]
    return value if isinstance(value, int | float | bool | None) else str(value)


def message_from_record(record: Mapping[str, Any]) -> Message:
    """The message that `Message.as_record` made plain values of, in this process or in another one."""
    values: dict[str, Any] = {
        name: message_from_record(value) if isinstance(value, Mapping) else value
        for name, value in record.get("values", {}).items()
    }
    template = str(record.get("template", record.get("text", "")))
    if "singular" in record:
        template = ngettext(record["singular"], template, values.pop("count"))
    return Message(template, **values)


def in_english(value: Any) -> Any:
    """A value for programs, in which every message is its English sentence whatever the reader's language."""
    if isinstance(value, Message):
        template = value.template
        if isinstance(template, Plural) and template.number == 1:
            template = template.singular
        values = {name: presentable(in_english(each)) for name, each in value.values.items()}
        return template.format_map(values) if values else str(template)
    if isinstance(value, Mapping):
        return {in_english(name): in_english(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [in_english(each) for each in value]
    return value
