"""Changes of one caption's text, for the command line, Python and the page: tags and texts, line by line."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from tetrad.data.captions.captions import contains_word, split_tags
from tetrad.errors import TetradError
from tetrad.locales import _


def check_text_to_find(text: str) -> None:
    """E4305 for an empty text, which stands everywhere."""
    if not text:
        raise TetradError("E4305", _("there is nothing to look for; type what is to be replaced"))


def normalize_caption(text: str) -> str:
    """A caption as reading its file gives it back, so that writing it again is no change."""
    return "\n".join(stripped for line in text.splitlines() if (stripped := " ".join(line.split()).strip(" ,，")))


def list_tags(caption: str) -> list[str]:
    """The tags of all lines of a caption, each once, in their order."""
    return list(dict.fromkeys(tag for line in caption.splitlines() for tag in split_tags(line)))


def count_tags(captions: Iterable[str]) -> Counter[str]:
    """How many captions have each tag."""
    return Counter(tag for caption in captions for tag in list_tags(caption))


def add_tags(caption: str, tags: Sequence[str]) -> str:
    """The caption with the tags that it does not have at the end of its last line."""
    present = list_tags(caption)
    new = [tag for tag in dict.fromkeys(tags) if tag not in present]
    *lines, last = caption.splitlines() or [""]
    return "\n".join([*lines, ", ".join([*split_tags(last), *new])]) if new else caption


def remove_tags(caption: str, tags: Collection[str]) -> str:
    """The caption without these tags; lines that have none of them stay as they are."""

    def remove(line: str) -> str:
        found = split_tags(line)
        kept = [tag for tag in found if tag not in tags]
        return line if kept == found else ", ".join(kept)

    return edit_lines(caption, remove)


def prepend_word(caption: str, word: str) -> str:
    """The caption with a trigger word in front, unless it has the word already."""
    return caption if contains_word(caption, word) else f"{word}, {caption}"


def edit_lines(caption: str, edit: Callable[[str], str]) -> str:
    """The caption with each of its lines edited; lines that are empty then are left out."""
    return "\n".join(filter(None, map(edit, caption.splitlines())))
