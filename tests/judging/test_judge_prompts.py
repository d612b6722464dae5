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


def test_brackets_of_captions_are_plain_text() -> None:
    assert make_prompts(["zkr (cat), on a red background"], "zkr", "").with_word[0].prompt.startswith(r"zkr \(cat\)")
