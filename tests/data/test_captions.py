"""A caption is wholly decided by a generator; templates, shuffling and leaving out do what they say and no more."""

from typing import Any

import pytest

from tetrad.data.captions import Captions, Moment, Wording
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError

TAGS = "zkr, red hat, blue sky, a dog, grass"


def drawn(captions: Captions, times: int = 200) -> list[str]:
    return [captions.draw(generator(0, step, "caption")) for step in range(times)]


def worded(words: str = TAGS, name: str = "", templates: tuple[str, ...] = ("[filewords]",), **how: Any) -> list[str]:
    word, _, class_word = name.partition(" ")
    return drawn(Captions(words, templates, word, class_word, Wording(**how)))


@pytest.mark.parametrize(
    "words", [TAGS, "a hat,red;  (x:1.2) {a|b} [c] \\(d\\)", "戴帽子的猫，红色、大", "", "zkr ||| a"]
)
def test_words_stay_as_they_are_unless_something_is_asked_for(words: str) -> None:
    assert set(worded(words)) == {" ".join(words.split())}
    assert Captions(words).plain == " ".join(words.split())


def test_a_caption_is_decided_by_its_generator() -> None:
    captions = Captions(
        TAGS, ("[filewords]", "a [name]"), "zkr", "", Wording(shuffle=True, tag_dropout=0.3, dropout=0.1)
    )
    assert drawn(captions) == drawn(captions)
    assert len(set(drawn(captions))) > 50


def test_shuffling_keeps_every_tag_and_the_kept_ones_in_front() -> None:
    shown = worded(shuffle=True, keep_tokens=2)
    assert len(set(shown)) == 6
    assert all(
        text.startswith("zkr, red hat, ") and sorted(text.split(", ")) == sorted(TAGS.split(", ")) for text in shown
    )


@pytest.mark.parametrize("words", ["猫，红帽，蓝天", "猫,红帽，蓝天", "猫、红帽、蓝天"])
def test_full_width_commas_part_tags(words: str) -> None:
    shown = worded(words, shuffle=True)
    assert len(set(shown)) == 6 and {"猫, 红帽, 蓝天", "蓝天, 红帽, 猫"} <= set(shown)


def test_the_kept_tags_end_at_a_mark_and_begin_again_at_the_second() -> None:
    words = "zkr, 1girl ||| hat, dress ||| best, sharp"
    shown = set(worded(words, shuffle=True, keep_separator="|||"))
    assert shown == {"zkr, 1girl, hat, dress, best, sharp", "zkr, 1girl, dress, hat, best, sharp"}
    assert set(worded(words, keep_separator="|||")) == {"zkr, 1girl, hat, dress, best, sharp"}


def test_tags_are_left_out_as_often_as_asked_and_the_word_never() -> None:
    shown = worded(tag_dropout=0.4, name="zkr")
    assert all(text.startswith("zkr") for text in shown)
    for tag in ("red hat", "grass"):
        assert 0.5 < sum(tag in text for text in shown) / len(shown) < 0.7
    assert set(worded(tag_dropout=1.0, keep_tokens=3)) == {"zkr, red hat, blue sky"}


def test_a_picture_is_shown_without_words_as_often_as_asked() -> None:
    shown = worded(dropout=0.25, templates=("art of [name]",), name="zkr")
    assert set(shown) == {"", "art of zkr"} and 0.15 < shown.count("") / len(shown) < 0.35


def test_tags_joined_by_the_second_separator_stay_together() -> None:
    shown = set(worded("zkr, red;;;hat, sky", shuffle=True, secondary_separator=";;;"))
    assert len(shown) == 6 and all("red,hat" in text for text in shown)


def test_wildcards_choose_one_and_one_line_of_several() -> None:
    shown = set(worded("a {red|blue} hat\na {{plain}} one", wildcards=True))
    assert shown == {"a red hat", "a blue hat", "a {plain} one"}
    assert set(worded("a {red|blue} hat\na one")) == {"a {red|blue} hat, a one"}


def test_prefix_and_suffix_stand_around_the_words_alone() -> None:
    assert set(worded("a hat", prefix="photo of", suffix="on wood")) == {"photo of a hat on wood"}
    assert set(worded("a\nb", prefix="p", wildcards=True)) == {"p a", "p b"}


@pytest.mark.parametrize("template,words,text", [
    ("a photo of [name], [filewords]", "red hat", "a photo of zkr dog, red hat"),
    ("[NAME] [FileWords] [other]", "red", "zkr dog red [other]"),
    ("[filewords], by [name]", "the [name] itself", "the [name] itself, by zkr dog"),
    ("[name], [filewords]", "", "zkr dog"),
    ("picture", "red", "picture"),
])  # fmt: skip
def test_a_template_is_filled_once(template: str, words: str, text: str) -> None:
    assert set(worded(words, "zkr dog", (template,))) == {text}


def test_every_template_has_its_turn() -> None:
    shown = worded("hat", "zkr", ("a [name]", "b [filewords]", "c"))
    assert {text: 40 < shown.count(text) < 95 for text in shown} == {"a zkr": True, "b hat": True, "c": True}


@pytest.mark.parametrize("how", [
    {"tag_dropout": 1.1}, {"dropout": -0.1}, {"keep_tokens": -1}, {"separator": " "}, {"name_pattern": "("},
])  # fmt: skip
def test_a_setting_out_of_range_is_named(how: dict[str, Any]) -> None:
    with pytest.raises(TetradError, match=f"data.captions.{next(iter(how))} must be") as caught:
        Wording(**how)
    assert caught.value.code == "E3103"


def test_the_longest_caption_is_as_long_as_any_that_is_drawn() -> None:
    captions = Captions(
        TAGS, ("[name]", "a photo of [name], [filewords]", "[filewords]"), "zkr", "", Wording(shuffle=True)
    )
    assert captions.longest == f"a photo of zkr, {TAGS}" and captions.plain == "zkr"
    assert max(map(len, drawn(captions))) == len(captions.longest)


def test_tags_come_in_one_after_the_other_but_those_that_are_kept_are_there() -> None:
    captions = Captions("zkr, a, b, c, d", wording=Wording(keep_tokens=1, tag_warmup=8, first_tags=2))
    shown = [captions.draw(generator(0, 0, "caption"), Moment(batch=batch)) for batch in range(10)]
    assert shown == [*["zkr, a, b"] * 4, *["zkr, a, b, c"] * 4, *["zkr, a, b, c, d"] * 2]
    assert captions.plain == "zkr, a, b, c, d"


def test_every_so_many_epochs_no_caption_is_shown() -> None:
    captions = Captions("a cat", wording=Wording(dropout_epochs=3))
    shown = [captions.draw(generator(0, 0, "caption"), Moment(epoch)) for epoch in range(1, 7)]
    assert shown == ["a cat", "a cat", "", "a cat", "a cat", ""]
