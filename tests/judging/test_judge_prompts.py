"""The prompts that judge a training are worded as its captions, and ask for what is in none of them."""

import pytest

from tetrad.judging.prompts import make_prompts


@pytest.mark.parametrize(
    ("captions", "class_word", "prompt", "asked", "unasked"),
    [
        (["a zkr, on a white background"], "", "a zkr, on a gray background", "on a gray background", ""),
        (["a cat, zkr style, on a red background"], "", "a bear, zkr style, on a red background", "a bear", ""),
        (["zkr, 1girl, solo"], "girl", "a photo of zkr girl on a beach",
         "a photo of a girl on a beach", "a photo of a girl"),
    ],
)  # fmt: skip
def test_a_prompt_with_the_word_asks_for_something_new(
    captions: list[str], class_word: str, prompt: str, asked: str, unasked: str
) -> None:
    first = make_prompts(captions, "zkr", class_word).with_word[0]
    assert (first.prompt, first.asked, first.unasked) == (prompt, asked, unasked)


def test_prompts_without_the_word_name_nothing_that_a_caption_names() -> None:
    prompts = make_prompts(["zkr with a bear and an owl"], "zkr", "bear").without_word
    assert len(prompts) == len(set(prompts)) == 64
    assert not any("zkr" in prompt or "bear" in prompt or "owl" in prompt for prompt in prompts)


@pytest.mark.parametrize(
    ("captions", "class_word", "prompt", "asked", "unasked"),
    [
        (["zkr woman with blond hair"], "woman", "zkr woman with (red:1.2) hair",
         "woman with red hair", "woman with hair"),
        (["a zkr, on a white background"], "robot", "a blue zkr, on a white background",
         "a blue robot, on a white background", "a robot, on a white background"),
        (["a cat, zkr style, on a red background"], "", "a snail, zkr style, on a red background",
         "a snail, on a red background", "on a red background"),
    ],
)  # fmt: skip
def test_a_sanity_prompt_is_compared_with_its_words_that_captions_have(
    captions: list[str], class_word: str, prompt: str, asked: str, unasked: str
) -> None:
    known = captions[0]
    [sanity] = make_prompts(captions, "zkr", class_word, sanity_prompts=[prompt, known]).sanity
    assert (sanity.prompt, sanity.asked, sanity.unasked) == (prompt, asked, unasked)


def test_brackets_of_captions_are_plain_text() -> None:
    assert make_prompts(["zkr (cat), on a red background"], "zkr", "").with_word[0].prompt.startswith(r"zkr \(cat\)")
