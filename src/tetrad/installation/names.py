"""Names of files that work on every system and in every prompt."""

import re
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.run.folder import file_name

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)  # Windows has no files of these names
_MAX_NAME = 80


def make_safe_stem(text: str) -> str:
    """The stem of a file name that works on every system and in every prompt."""
    printable = "".join(filter(str.isprintable, text))
    stem = file_name(printable) if re.search(r"\w", printable) else "image"
    return f"image-{stem}" if _RESERVED.fullmatch(stem) else stem


def check_name(name: str) -> str:
    """A name for a file that prompts name too.  E4322 for one that some system or prompt cannot have."""
    safe = make_safe_stem(name)[:_MAX_NAME]
    if name != safe:
        template = _("'{name}' cannot be the name of a file that prompts name; '{safe}' can")
        raise TetradError("E4322", template, name=name, safe=safe)
    return name


def choose_free_name(folder: Path, name: str, suffix: str) -> str:
    """The name, numbered where a file in any spelling, or what would lie beside it, is there already."""
    try:
        taken = {each.name.casefold() for each in folder.iterdir()}
    except OSError:
        taken = set()
    ends = (suffix, ".json", ".preview.png")
    names = (name if number == 1 else f"{name}-{number}" for number in range(1, len(taken) + 2))
    return next(each for each in names if not any(f"{each}{end}".casefold() in taken for end in ends))
