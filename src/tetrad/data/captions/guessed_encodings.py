"""Say which captions were read in a guessed encoding, are cut off or are a web UI's text; quote one to check it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tetrad.data.captions.encodings import CUT_OFF, ENCODING_NAMES
from tetrad.data.discover.image_files import FileProblem
from tetrad.locales import Message, ngettext

_MAX_QUOTE = 40  # letters


def describe_guessed_encodings(captions: Iterable[tuple[Path, str, str]]) -> Iterator[FileProblem]:
    """One warning for each folder and encoding, of captions given as image, guessed encoding and text."""
    groups: dict[tuple[Path, str], list[tuple[Path, str]]] = {}
    for path, encoding, text in captions:
        groups.setdefault((path.parent, encoding), []).append((path, text))
    for (_folder, encoding), group in groups.items():
        path, text = group[0]
        if encoding == CUT_OFF:
            template = ngettext(
                "its caption ends in the middle of a character, as if the file was cut off: '{caption}'; copy it again",
                "its caption and others of this folder ({count} in all) end in the middle of a character, as if the"
                " files were cut off: '{caption}'; copy them again",
                len(group),
            )
            yield FileProblem(path, "W4157", Message(template, caption=text[-_MAX_QUOTE:]))
            continue
        template = ngettext(
            "its caption is not in UTF-8 and was read as {encoding}: '{caption}'; if that is wrong, save it as UTF-8",
            "its caption and others of this folder ({count} in all) are not in UTF-8 and were read as {encoding}: "
            "'{caption}'; if that is wrong, save them as UTF-8",
            len(group),
        )
        quote, name = text[:_MAX_QUOTE], Message(ENCODING_NAMES[encoding])
        yield FileProblem(path, "W4157", Message(template, encoding=name, caption=quote))


def describe_infotexts(captions: Iterable[tuple[Path, str]]) -> Iterator[FileProblem]:
    """One warning for each folder with captions, given as image and prompt, that are the text of a web UI."""
    groups: dict[Path, list[tuple[Path, str]]] = {}
    for path, text in captions:
        groups.setdefault(path.parent, []).append((path, text))
    for group in groups.values():
        path, text = group[0]
        template = ngettext(
            "its text file has the settings of a web UI, so only the prompt is its caption: '{caption}'",
            "its text file and others of this folder ({count} in all) have the settings of a web UI, so only the"
            " prompts are captions: '{caption}'",
            len(group),
        )
        yield FileProblem(path, "W4165", Message(template, caption=text[:_MAX_QUOTE]))
