"""Which words the built-in model knows, and which words of a prompt it does not know."""

import difflib
import re
from functools import cache
from pathlib import Path

from tetrad.builtin.other_words import OTHER_WORDS
from tetrad.builtin.vocabulary import BACKGROUNDS, STYLE_WORDS, TRAINED_SUBJECTS, get_subject_words
from tetrad.locales import Message, _

# Subjects besides the 153 of the vocabulary; they have the names of their icons. Written by tools/builtin_model.
FURTHER_SUBJECTS_PATH = Path(__file__).parent / "further_subjects.txt"
WORDS_COMMAND = "tetrad inspect builtin --words"
_WORD = re.compile(r"[^\W\d_]+")
# Words that say nothing about what an image shows, and A1111's keywords. A prompt of these alone is not warned about.
_FILLERS = """
a an and at background break by cartoon color colored colour coloured emoji for from her his icon illustration image in
is it its my of on one or painting photo photograph pic picture style the their this three to two with
"""
_SUGGESTION_COUNT = 3
_SHOWN_WORDS = 5  # of a prompt


@cache
def list_known_words() -> dict[str, tuple[str, ...]]:
    """The words of the built-in model's captions, by what they stand for; `further subjects` are names of icons.

    `other words` stand for subjects too.
    """
    return {
        "subjects": tuple(sorted(map(get_subject_words, TRAINED_SUBJECTS))),
        "other words": tuple(sorted(other for names in OTHER_WORDS.values() for other in names)),
        "styles": tuple(STYLE_WORDS.values()),
        "backgrounds": tuple(BACKGROUNDS),
        "further subjects": tuple(FURTHER_SUBJECTS_PATH.read_text("utf-8").splitlines()),
    }


def find_unknown_words(prompt: str) -> tuple[str, ...]:
    """The words of a prompt that the built-in model does not know, if the prompt names no subject that it knows.

    A subject is named by a single word of its name, as in `an apple` for `red apple`; a further subject, or another
    word for a subject, by its whole name. The result is empty for a prompt without a subject, such as
    `gold style, on a blue background`.
    """
    words = tuple(dict.fromkeys(_split_into_words(prompt)))
    if not _subject_words().isdisjoint(words) or any(name <= set(words) for name in _whole_names()):
        return ()
    return tuple(word for word in words if word not in _other_words())


def find_nearest_subjects(words: tuple[str, ...]) -> tuple[str, ...]:
    """Up to three subjects that are spelled like one of the words; those of the first word come first."""
    nearest = (
        _spelled_names()[match]
        for word in words
        for match in difflib.get_close_matches(word, _spelled_names(), n=_SUGGESTION_COUNT)
    )
    return tuple(dict.fromkeys(nearest))[:_SUGGESTION_COUNT]


def explain_unknown_words(prompt: str) -> Message | None:
    """A sentence about a prompt without a subject that the built-in model knows; None for any other prompt."""
    words = find_unknown_words(prompt)
    if not words:
        return None
    quoted = ", ".join([*(f"'{word}'" for word in words[:_SHOWN_WORDS]), *["…"] * (len(words) > _SHOWN_WORDS)])
    if nearest := find_nearest_subjects(words):
        template = _(
            "the built-in model does not know {words}, so the image will not show it; the nearest words that it knows:"
            " {nearest}; {command} lists all of them"
        )
        return Message(template, words=quoted, nearest=", ".join(nearest), command=WORDS_COMMAND)
    template = _(
        "the built-in model does not know {words}, so the image will not show it; {command} lists the words that it"
        " knows, such as {examples}"
    )
    return Message(template, words=quoted, command=WORDS_COMMAND, examples="cat, house, strawberry")


def _split_into_words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@cache
def _spelled_names() -> dict[str, str]:
    """What a word may be a misspelling of, and the subject that is meant: names, other words, and parts of names."""
    known = list_known_words()
    names = (*known["subjects"], *known["further subjects"])
    parts = {word: subject for subject in known["subjects"] for word in _split_into_words(subject)}
    others = {other: subject for subject, others in OTHER_WORDS.items() for other in others}
    return {**parts, **others, **{name: name for name in names if name.count(" ") < 2}}


@cache
def _subject_words() -> frozenset[str]:
    """Every single word of a subject's name that is no colour and no filler."""
    words = {word for subject in list_known_words()["subjects"] for word in _split_into_words(subject)}
    return frozenset(words - _other_words())


@cache
def _whole_names() -> frozenset[frozenset[str]]:
    known = list_known_words()
    names = (*known["other words"], *known["further subjects"])
    return frozenset(frozenset(_split_into_words(name)) for name in names)


@cache
def _other_words() -> frozenset[str]:
    """Words that are known, or need not be, but name no subject."""
    return frozenset(_FILLERS.split()).union(*(list_known_words()[group] for group in ("styles", "backgrounds")))
