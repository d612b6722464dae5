"""Which words of a prompt the built-in model knows, and what is said about a prompt that names nothing it knows."""

import pytest

from tetrad.builtin import explain_unknown_words, list_known_words
from tetrad.builtin.known_words import find_nearest_subjects, find_unknown_words
from tetrad.builtin.vocabulary import HELD_OUT_SUBJECTS, STYLE_WORDS, TRAINED_SUBJECTS, get_subject_words, make_caption


def test_a_caption_of_every_trained_subject_and_style_is_known() -> None:
    for subject in map(get_subject_words, TRAINED_SUBJECTS):
        for style in (None, *STYLE_WORDS.values()):
            assert explain_unknown_words(make_caption(subject, style, "blue")) is None, subject


def test_every_further_subject_is_known_by_its_name() -> None:
    further = list_known_words()["further subjects"]
    assert len(further) > 900 and len(set(further)) == len(further)
    assert not set(further) & set(list_known_words()["subjects"])
    assert all(explain_unknown_words(f"a {name}, gold style") is None for name in further)


@pytest.mark.parametrize("subject", HELD_OUT_SUBJECTS)
def test_a_held_out_subject_is_unknown_by_its_name(subject: str) -> None:
    words = get_subject_words(subject)
    assert find_unknown_words(f"a photo of a {words} on a red background") == (words,)
    assert all(words not in names for names in list_known_words().values())


@pytest.mark.parametrize(
    "prompt,unknown",
    [
        ("an Apple", ()),
        ("a cute (cat:1.2), gold style", ()),
        ("2 dogs AND penguins BREAK", ("dogs", "penguins")),
        ("a red zkr", ("zkr",)),
        ("rain in the mountains", ("rain", "mountains")),  # "mountain" is known, and so is "cloud with rain"
        ("my kitty", ()),
        ("an automobile", ()),
        ("a pine", ("pine",)),  # "pine tree" is known
        ("一只猫", ("一只猫",)),
        ("gold style, on a blue background", ()),
        ("a photo", ()),
        ("", ()),
    ],
)
def test_unknown_words_are_named_only_where_no_subject_is_known(prompt: str, unknown: tuple[str, ...]) -> None:
    assert find_unknown_words(prompt) == unknown


@pytest.mark.parametrize(
    "word,nearest",
    [
        ("dogs", "dog"),
        ("strwberry", "strawberry"),
        ("icecream", "ice cream"),
        ("elephants", "elephant"),
        ("kittens", "cat"),
    ],
)
def test_a_misspelled_subject_is_the_first_suggestion(word: str, nearest: str) -> None:
    assert find_nearest_subjects((word,))[0] == nearest


def test_the_sentence_names_the_words_the_nearest_ones_and_the_command_that_lists_all() -> None:
    sentence = str(explain_unknown_words("two dogs"))
    assert "does not know 'dogs'" in sentence and ": dog;" in sentence and "tetrad inspect builtin --words" in sentence
    sentence = str(explain_unknown_words("a zkr"))
    assert "does not know 'zkr'" in sentence and "such as cat, house, strawberry" in sentence
    assert "'ee', …," in str(explain_unknown_words("aa bb cc dd ee ff"))
