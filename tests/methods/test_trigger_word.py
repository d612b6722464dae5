"""A trigger word should be one that the model does not know."""

import pytest

from tetrad.errors import TetradError
from tetrad.methods.trigger_word import check_word, is_rare, suggestions


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
def test_a_word_that_the_model_knows_is_told_with_rare_ones(word: str, code: str) -> None:
    advice = check_word(word)
    assert [found for found, _ in advice.warnings] == ([code] if code else [])
    assert len(advice.suggestions) == (3 if code else 0)
    for better in advice.suggestions:
        assert is_rare(better) and not check_word(better).warnings
        assert better in advice.warnings[0][1]


@pytest.mark.parametrize(
    "word,other,code",
    [("zkr", "ZKR", "W3114"), ("zkr-x", "zkr - x", "W3114"), ("zkr-2", "zkr", "W3115"), ("zkr", "zkr-2", "W3115")],
)
def test_a_word_that_clashes_is_told(word: str, other: str, code: str) -> None:
    (warning,) = check_word(word, [other, "bqv"]).warnings
    assert warning[0] == code and other in warning[1]
    assert not check_word(word, ["bqv"]).warnings


def test_suggestions_begin_as_the_word_does_are_rare_and_always_the_same() -> None:
    for word in ("anna", "dog", "日本", "e"):
        many = list(suggestions(word, ["ndk"]))
        assert many == list(suggestions(word, ["ndk"])) and len(many) == len(set(many)) > 20
        assert all(is_rare(one) for one in many) and "ndk" not in many
    assert next(suggestions("anna")).startswith("n") and next(suggestions("dog")).startswith("d")


def test_what_no_prompt_can_hold_is_an_error() -> None:
    for bad in ("", "a|b", "<zkr>", "a\nb"):
        with pytest.raises(TetradError) as caught:
            check_word(bad)
        assert caught.value.code == "E3112"
