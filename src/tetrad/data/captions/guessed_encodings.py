"""Say which captions were read in an encoding that was guessed, and quote one so that the guess can be checked."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tetrad.data.captions.encodings import ENCODING_NAMES
from tetrad.data.discover.image_files import FileProblem
from tetrad.locales import Message, ngettext

_MAX_QUOTE = 40  # letters


def describe_guessed_encodings(captions: Iterable[tuple[Path, str, str]]) -> Iterator[FileProblem]:
    """One warning for each folder and encoding, of captions given as image, guessed encoding and text."""
    groups: dict[tuple[Path, str], list[tuple[Path, str]]] = {}
    for path, encoding, text in captions:
        groups.setdefault((path.parent, encoding), []).append((path, text))
    for (_folder, encoding), group in groups.items():
        template = ngettext(
            "its caption is not in UTF-8 and was read as {encoding}: '{caption}'; if that is wrong, save it as UTF-8",
            "its caption and others of this folder ({count} in all) are not in UTF-8 and were read as {encoding}: "
            "'{caption}'; if that is wrong, save them as UTF-8",
            len(group),
        )
        path, text = group[0]
        quote, name = text[:_MAX_QUOTE], Message(ENCODING_NAMES[encoding])
        yield FileProblem(path, "W4157", Message(template, encoding=name, caption=quote))
