"""Warnings about trigger words, and suggestions for better ones."""

import pytest

from tetrad.errors import TetradError
from tetrad.methods.trigger_word import advise_on_trigger_word, is_rare, suggest_words


@pytest.mark.parametrize(
    "word,code",
    [
        ("dog", "W3111"),
        ("Hedgehog", "W3111"),
        ("sks", "W3112"),
        ("ohwx", "W3112"),
        ("shs", "W3112"),
        ("dragonstone", "W3113"),
        ("mystyle", "W3113"),
        ("my dog", "W3113"),
        ("zkr", ""),
        ("dkx", ""),
        ("zkr-2", ""),
    ],
)
def test_a_known_word_gets_a_warning_and_suggestions(word: str, code: str) -> None:
    advice = advise_on_trigger_word(word)
    assert [found for found, _ in advice.warnings] == ([code] if code else [])
    assert len(advice.suggestions) == (3 if code else 0)
    for suggestion in advice.suggestions:
        assert is_rare(suggestion) and not advise_on_trigger_word(suggestion).warnings
        assert suggestion in advice.warnings[0][1].values["suggestions"]


def test_the_parts_of_a_word_are_quoted() -> None:
    [(_code, warning)] = advise_on_trigger_word("my dog").warnings
    assert str(warning).startswith("the model splits 'my dog' into 'my' + 'dog', and it knows 'dog'; ")


@pytest.mark.parametrize(
    "word,other,code",
    [("zkr", "ZKR", "W3114"), ("zkr-x", "zkr - x", "W3114"), ("zkr-2", "zkr", "W3115"), ("zkr", "zkr-2", "W3115")],
)
def test_a_word_that_clashes_with_another_gets_a_warning(word: str, other: str, code: str) -> None:
    (warning,) = advise_on_trigger_word(word, [other, "bqv"]).warnings
    assert warning[0] == code and warning[1].values["other"] == other
    assert not advise_on_trigger_word(word, ["bqv"]).warnings


def test_suggestions_are_rare_reproducible_and_share_the_first_consonant() -> None:
    for word in ("anna", "dog", "日本", "e"):
        suggestions = list(suggest_words(word, ["ndk"]))
        assert suggestions == list(suggest_words(word, ["ndk"])) and len(suggestions) == len(set(suggestions)) > 20
        assert all(is_rare(suggestion) for suggestion in suggestions) and "ndk" not in suggestions
    assert next(suggest_words("anna")).startswith("n") and next(suggest_words("dog")).startswith("d")


def test_a_word_that_no_prompt_can_contain_is_an_error() -> None:
    for bad in ("", "a|b", "<zkr>", "a\nb"):
        with pytest.raises(TetradError) as caught:
            advise_on_trigger_word(bad)
        assert caught.value.code == "E3112"
