"""Notes of a run in the words of the page: what speaks of the command line, and the form of a sentence."""

import re
from collections.abc import Mapping
from typing import Any

from tetrad.locales import Message, _, language, translate_record
from tetrad.run.words import SCAN_HINT

_ENDS = '.。!！?？…"'  # a double quotation mark ends what people copy into a terminal
_NAMES = {"tetrad", "diffusers", "safetensors", "torchrun"}  # of programs, in lower case everywhere
_INSTEAD = {
    "W5202": _(
        "the built-in model generates small cartoon images and cannot be trained on photographs or artworks; choose a"
        " Stable Diffusion checkpoint as the base model; docs/models.md lists some that can be downloaded"
    )
}


def adapt_note(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A note as the page says it; None for one that names a command for what the page shows itself."""
    if record.get("template") == SCAN_HINT:
        return None
    template = _INSTEAD.get(str(record.get("code")))
    return {**record, **Message(template).as_record()} if template else record


def as_sentence(record: Mapping[str, Any], is_last: bool = True) -> str:
    """What a recorded message says, as a sentence.  A path at its end has no full stop, unless more text follows."""
    return make_sentence(translate_record(record), record, is_last)


def make_sentence(text: str, record: Mapping[str, Any], is_last: bool = True) -> str:
    """A record's text as a sentence: messages of the command line begin in lower case and have no full stop.

    Names stay as they are: of files, settings, and programs.
    """
    if not text:
        return ""
    if language() == "en" and not _begins_with_name(record):
        text = capitalize(text)
    if text[-1] in _ENDS or (is_last and _ends_with_path(text, record)):
        return text
    return text + ("。" if language() == "zh_CN" else ".")


def capitalize(text: str) -> str:
    """The text with a capital letter at its beginning, unless its first word is a name or a setting."""
    word = text.split(" ", 1)[0].rstrip(",:;")
    is_word = word.isalpha() and word.islower() and word not in _NAMES
    return text[0].upper() + text[1:] if is_word else text


def _begins_with_name(record: Mapping[str, Any]) -> bool:
    """Whether it begins with a value that is no message itself, such as a file's name."""
    found = re.match(r"\{(\w+)", str(record.get("template")))
    return found is not None and not isinstance(_values_of(record).get(found[1]), Mapping)


def _ends_with_path(text: str, record: Mapping[str, Any]) -> bool:
    """Whether it ends with a value that is a path, which people copy."""
    return any(
        _ends_with_path(text, value) if isinstance(value, Mapping) else "/" in str(value) and text.endswith(str(value))
        for value in _values_of(record).values()
    )


def _values_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    values = record.get("values")
    return values if isinstance(values, Mapping) else {}
