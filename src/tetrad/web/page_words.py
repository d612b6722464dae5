"""Notes of a run in the words of the page: what speaks of the command line, and the form of a sentence."""

from collections.abc import Mapping
from typing import Any

from tetrad.locales import Message, _, language, translate_record
from tetrad.run.words import SCAN_HINT

_ENDS = ".。!！?？…"
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


def as_sentence(record: Mapping[str, Any]) -> str:
    """What a recorded message says, as a sentence."""
    template = record.get("template")
    return make_sentence(translate_record(record), isinstance(template, str) and template.startswith("{"))


def make_sentence(text: str, begins_with_name: bool = False) -> str:
    """A text as a sentence: messages of the command line begin in lower case and have no full stop.

    Names stay as they are: of files, settings, and the command itself.
    """
    if not text:
        return ""
    word = text.split(" ", 1)[0].rstrip(",:;")
    if language() == "en" and word.isalpha() and word != "tetrad" and not begins_with_name:
        text = text[0].upper() + text[1:]
    ends_with_path = "/" in text.rsplit(" ", 1)[-1]  # which people copy
    return text if text[-1] in _ENDS or ends_with_path else text + ("。" if language() == "zh_CN" else ".")
