"""Notes of a run that speak of the command line, in the words of the page."""

from collections.abc import Mapping
from typing import Any

from tetrad.locales import Message, _
from tetrad.run.words import SCAN_HINT

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
