"""The plain prompts that the built-in model is judged by."""

from pathlib import Path

import pytest

from tetrad.builtin.vocabulary import BACKGROUNDS, TRAINED_SUBJECTS, make_caption

TOOLS = Path(__file__).parents[2] / "tools" / "builtin_model"


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))


def test_twelve_prompts_ask_for_trained_subjects_in_words_that_are_no_caption_of_the_program() -> None:
    from plain_prompts import load_prompts

    prompts = load_prompts()
    assert len(prompts) == len({prompt.subject for prompt in prompts}) == 12
    assert {prompt.subject for prompt in prompts} <= set(TRAINED_SUBJECTS)
    assert {prompt.background for prompt in prompts} <= {"", *BACKGROUNDS}
    styles = (None, "gold", "sketch")
    assert not {prompt.text for prompt in prompts} & {
        make_caption(prompt.subject, style, prompt.background or "white") for prompt in prompts for style in styles
    }


@pytest.mark.wide
def test_the_drawings_themselves_are_recognized_and_each_other_image_is_not() -> None:
    from plain_prompts import compose_ideal, is_recognized, load_prompts

    prompts = load_prompts()
    images = compose_ideal(prompts)
    assert all(is_recognized(prompt, image) for prompt, image in zip(prompts, images, strict=True))
    assert not any(is_recognized(prompt, image) for prompt, image in zip(prompts, images[::-1], strict=True))
