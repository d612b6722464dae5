"""A caption depends only on its generator; templates, shuffling and dropout do what their settings say."""

from typing import Any

import pytest

from tetrad.data.captions.captions import Captions, TrainingProgress
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.settings import CaptionSettings, build_recipe

TAGS = "zkr, red hat, blue sky, a dog, grass"


def sample_captions(captions: Captions, count: int = 200) -> list[str]:
    return [captions.sample(generator(0, step, "caption")) for step in range(count)]


def captions_with(
    text: str = TAGS, name: str = "", templates: tuple[str, ...] = ("[filewords]",), **settings: Any
) -> list[str]:
    trigger_word, _, class_word = name.partition(" ")
    return sample_captions(Captions(text, templates, trigger_word, class_word, CaptionSettings(**settings)))


@pytest.mark.parametrize(
    "text", [TAGS, "a hat,red;  (x:1.2) {a|b} [c] \\(d\\)", "戴帽子的猫，红色、大", "", "zkr ||| a"]
)
def test_captions_are_unchanged_with_default_settings(text: str) -> None:
    assert set(captions_with(text)) == {" ".join(text.split())}
    assert Captions(text).default_caption == " ".join(text.split())


def test_a_caption_depends_only_on_its_generator() -> None:
    captions = Captions(
        TAGS, ("[filewords]", "a [name]"), "zkr", "", CaptionSettings(shuffle=True, tag_dropout=0.3, dropout=0.1)
    )
    assert sample_captions(captions) == sample_captions(captions)
    assert len(set(sample_captions(captions))) > 50


def test_shuffling_keeps_all_tags_and_the_first_ones_in_front() -> None:
    texts = captions_with(shuffle=True, keep_tokens=2)
    assert len(set(texts)) == 6
    assert all(
        text.startswith("zkr, red hat, ") and sorted(text.split(", ")) == sorted(TAGS.split(", ")) for text in texts
    )


@pytest.mark.parametrize("text", ["猫，红帽，蓝天", "猫,红帽，蓝天", "猫、红帽、蓝天"])
def test_chinese_commas_separate_tags(text: str) -> None:
    texts = captions_with(text, shuffle=True)
    assert len(set(texts)) == 6 and {"猫, 红帽, 蓝天", "蓝天, 红帽, 猫"} <= set(texts)


def test_tags_before_the_first_and_after_the_second_keep_separator_are_kept() -> None:
    text = "zkr, 1girl ||| hat, dress ||| best, sharp"
    texts = set(captions_with(text, shuffle=True, keep_separator="|||"))
    assert texts == {"zkr, 1girl, hat, dress, best, sharp", "zkr, 1girl, dress, hat, best, sharp"}
    assert set(captions_with(text, keep_separator="|||")) == {"zkr, 1girl, hat, dress, best, sharp"}


def test_tags_are_dropped_at_the_given_rate_but_never_the_trigger_word() -> None:
    texts = captions_with(tag_dropout=0.4, name="zkr")
    assert all(text.startswith("zkr") for text in texts)
    for tag in ("red hat", "grass"):
        assert 0.5 < sum(tag in text for text in texts) / len(texts) < 0.7
    assert set(captions_with(tag_dropout=1.0, keep_tokens=3)) == {"zkr, red hat, blue sky"}


def test_whole_captions_are_dropped_at_the_given_rate() -> None:
    texts = captions_with(dropout=0.25, templates=("art of [name]",), name="zkr")
    assert set(texts) == {"", "art of zkr"} and 0.15 < texts.count("") / len(texts) < 0.35


def test_tags_joined_by_the_secondary_separator_stay_together() -> None:
    texts = set(captions_with("zkr, red;;;hat, sky", shuffle=True, secondary_separator=";;;"))
    assert len(texts) == 6 and all("red,hat" in text for text in texts)


def test_wildcards_pick_one_alternative_and_one_line() -> None:
    texts = set(captions_with("a {red|blue} hat\na {{plain}} one", wildcards=True))
    assert texts == {"a red hat", "a blue hat", "a {plain} one"}
    assert set(captions_with("a {red|blue} hat\na one")) == {"a {red|blue} hat, a one"}


def test_prefix_and_suffix_are_around_the_caption_text() -> None:
    assert set(captions_with("a hat", prefix="photo of", suffix="on wood")) == {"photo of a hat on wood"}
    assert set(captions_with("a\nb", prefix="p", wildcards=True)) == {"p a", "p b"}


@pytest.mark.parametrize("template,caption,expected", [
    ("a photo of [name], [filewords]", "red hat", "a photo of zkr dog, red hat"),
    ("[NAME] [FileWords] [other]", "red", "zkr dog red [other]"),
    ("[filewords], by [name]", "the [name] itself", "the [name] itself, by zkr dog"),
    ("[name], [filewords]", "", "zkr dog"),
    ("picture", "red", "picture"),
])  # fmt: skip
def test_placeholders_in_the_caption_text_are_not_filled(template: str, caption: str, expected: str) -> None:
    assert set(captions_with(caption, "zkr dog", (template,))) == {expected}


def test_every_template_is_used_about_equally_often() -> None:
    texts = captions_with("hat", "zkr", ("a [name]", "b [filewords]", "c"))
    assert {text: 40 < texts.count(text) < 95 for text in texts} == {"a zkr": True, "b hat": True, "c": True}


@pytest.mark.parametrize("settings", [
    {"tag_dropout": 1.1}, {"dropout": -0.1}, {"keep_tokens": -1}, {"separator": " "}, {"name_pattern": "("},
])  # fmt: skip
def test_a_setting_out_of_range_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(TetradError, match=f"data.captions.{next(iter(settings))} must be") as caught:
        build_recipe({"data": {"captions": settings}})
    assert caught.value.code == "E3103"


def test_no_caption_is_longer_than_the_longest_caption() -> None:
    captions = Captions(
        TAGS, ("[name]", "a photo of [name], [filewords]", "[filewords]"), "zkr", "", CaptionSettings(shuffle=True)
    )
    assert captions.longest_caption == f"a photo of zkr, {TAGS}" and captions.default_caption == "zkr"
    assert max(map(len, sample_captions(captions))) == len(captions.longest_caption)


def test_tag_warmup_adds_tags_one_by_one_after_the_kept_ones() -> None:
    captions = Captions("zkr, a, b, c, d", settings=CaptionSettings(keep_tokens=1, tag_warmup=8, first_tags=2))
    texts = [captions.sample(generator(0, 0, "caption"), TrainingProgress(batch=batch)) for batch in range(10)]
    assert texts == [*["zkr, a, b"] * 4, *["zkr, a, b, c"] * 4, *["zkr, a, b, c, d"] * 2]
    assert captions.default_caption == "zkr, a, b, c, d"


def test_every_nth_epoch_is_without_captions() -> None:
    captions = Captions("a cat", settings=CaptionSettings(dropout_epochs=3))
    texts = [captions.sample(generator(0, 0, "caption"), TrainingProgress(epoch)) for epoch in range(1, 7)]
    assert texts == ["a cat", "a cat", "", "a cat", "a cat", ""]
