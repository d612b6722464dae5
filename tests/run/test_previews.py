"""Preview prompts are worded as the captions are, and each shows one thing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import plans
import pytest

from tetrad.errors import TetradError
from tetrad.generation.prompt_parser import parse_prompt
from tetrad.run.folder import RunFolder
from tetrad.run.previews import PreviewPrompts, Previews, default_prompts, describe_purpose, list_preview_steps
from tetrad.settings import Sample

THING = ("a zkr, on a white background", "a zkr, on a red background")
STYLE = ("a red apple, zkr style, on a blue background", "a cat, zkr style, on a red background")


def prompts_of(captions: Sequence[str], sample: Sample | None = None, **words: str) -> PreviewPrompts:
    return default_prompts(sample or Sample(), plans.dataset(plans.photos(captions), **words))


@pytest.mark.parametrize(
    "captions,class_word,prompts",
    [
        (
            THING,
            "",
            {
                "one of your captions": THING[0],
                "somewhere new": "a zkr, on a green background",
                "without the trigger word": "a cat, on a white background",
                "overfitting check (not in your images)": "a green zkr, on a white background",
            },
        ),
        (
            STYLE,
            "",
            {
                "one of your captions": STYLE[0],
                "somewhere new": "a red apple, zkr style, on a green background",
                "without the trigger word": "a red apple, on a blue background",
                "overfitting check (not in your images)": "a snail, zkr style, on a blue background",
            },
        ),
        (
            ("a photo of zkr woman",),
            "woman",
            {
                "one of your captions": "a photo of zkr woman",
                "somewhere new": "a photo of zkr woman on a beach",
                "without the trigger word": "a photo of a woman",
                "overfitting check (not in your images)": "a photo of zkr woman with red hair",
            },
        ),
        (
            ("zkr dog, sitting on a sofa, indoors",),
            "dog",
            {
                "one of your captions": "zkr dog, sitting on a sofa, indoors",
                "somewhere new": "a photo of zkr dog on a beach",
                "without the trigger word": "a dog, sitting on a sofa, indoors",
                "overfitting check (not in your images)": "red zkr dog, sitting on a sofa, indoors",
            },
        ),
    ],
)
def test_default_prompts_are_made_from_the_captions(
    captions: tuple[str, ...], class_word: str, prompts: dict[str, str]
) -> None:
    plan = plans.plan(plans.recipe(data__class_word=class_word), plans.photos(captions))
    shown = (*plan.sample.prompts, *plan.sample.overfit_prompts)
    assert {str(describe_purpose(prompt, plan, captions)): prompt for prompt in shown} == prompts


def test_prompts_of_the_recipe_replace_the_default_prompts() -> None:
    sample = Sample(prompts=("one",), overfit_prompts=("zkr in the snow",))
    assert prompts_of(THING, sample) == PreviewPrompts(("one",), ("zkr in the snow",))
    assert prompts_of(THING, Sample(prompts=("one",))) == PreviewPrompts(("one",), ())


def test_a_prompt_that_uses_a_network_is_refused() -> None:
    for sample in (Sample(prompts=("a <lora:x:1>",)), Sample(overfit_prompts=("a <lora:x:1>",))):
        with pytest.raises(TetradError, match="E3158") as caught:
            prompts_of(THING, sample)
        assert caught.value.sentence.values["network"] == "x"


def test_previews_are_generated_with_the_recipes_settings(tmp_path: Path) -> None:
    recipe = plans.recipe(
        text__clip_skip=2, train__seed=7, sample__steps=3, sample__cfg_scale=4, sample__negative_prompt="blur"
    )
    previews = Previews(plans.plan(recipe), THING, RunFolder(tmp_path, "zkr"), clip_skip=2)
    request = previews.make_request("a zkr")
    assert request.clip_skip == 2
    assert (request.negative_prompt, request.seed, request.steps, request.cfg_scale) == ("blur", 7, 3, 4)


@pytest.mark.parametrize(
    "every,before_training,at_start,due",
    [(2, True, True, [2, 4, 5]), (2, False, False, [2, 4, 5]), (-1, True, False, []), (9, True, True, [5])],
)
def test_previews_are_due_at_intervals_and_after_the_last_step(
    every: int, before_training: bool, at_start: bool, due: list[int], tmp_path: Path
) -> None:
    recipe = plans.recipe(train__steps=5, sample__every=every, sample__before_training=before_training)
    previews = Previews(plans.plan(recipe), THING, RunFolder(tmp_path, "zkr"))
    assert previews.wanted_before is at_start
    assert [step for step in range(1, 6) if previews.is_due(step, 5)] == due


def test_previews_by_minutes_replace_those_by_steps_except_the_last(tmp_path: Path) -> None:
    now = 0.0
    plan = plans.plan(plans.recipe(train__steps=8, sample__every_minutes=1))
    previews = Previews(plan, THING, RunFolder(tmp_path, "zkr"), clock=lambda: now)
    due = []
    for step in range(1, 9):
        now += 31
        if previews.is_due(step, 8):
            due.append(step)
            previews.timer.restart()
    assert due == [2, 4, 6, 8] and previews.wanted_before and list_preview_steps(plan) == [0, 8]
    assert (plan.sample.every, plan.sample.every_minutes) == (0, 1)


@pytest.mark.parametrize("every", [{"sample__every": 2}, {"sample__every": -1}, {"sample__every_epochs": 1}])
def test_steps_and_epochs_come_before_minutes(every: dict[str, int]) -> None:
    assert plans.plan(plans.recipe(sample__every_minutes=1, **every)).sample.every_minutes == 0


@pytest.mark.parametrize(
    "first,before_training,due",
    [(99, True, [200, 300]), (99, False, [100, 200, 300]), (91, True, [200, 300]), (90, True, [100, 200, 300])],
)
def test_a_continued_run_does_not_repeat_its_first_previews_a_few_steps_later(
    first: int, before_training: bool, due: list[int], tmp_path: Path
) -> None:
    plan = plans.plan(plans.recipe(train__steps=300, sample__every=100, sample__before_training=before_training))
    plan = replace(plan, train=replace(plan.train, steps_before=first))
    previews = Previews(plan, THING, RunFolder(tmp_path, "zkr"))
    assert [step for step in range(first + 1, 301) if previews.is_due(step, 300)] == due
    assert previews.is_due(first + 1, first + 1)  # always after the last step


@pytest.mark.parametrize("captions,class_word,expected", [
    (("zkr with red hair", "zkr with blue hair"), "woman", "zkr with green hair"),
    (("zkr woman, red hair, smiling",), "", "zkr woman, blue hair, smiling"),
    (("a red-haired zkr man",), "", "a blue-haired zkr man"),
    (("zkr man, with hair",), "", "zkr man with red hair, with hair"),
    (("zkr, a woman in a park", "zkr, a man and a dog", "zkr"), "", "zkr with red hair, a woman in a park"),
    (("zkr, 1girl, solo",), "", "zkr with red hair, 1girl, solo"),
    (("a photo of zkr",), "女孩", "a photo of zkr with red hair"),
    (("a photo of zkr on a chair", "zkr beside a woman"), "", "a photo of red zkr on a chair"),
    (("a photo of a red zkr", "a green zkr"), "", "a photo of a blue zkr"),
    (("a purple zkr, red", "zkr, green, blue, yellow"), "", "an orange zkr, red"),
])  # fmt: skip
def test_the_overfitting_check_asks_for_a_colour_that_no_caption_has(
    captions: Sequence[str], class_word: str, expected: str
) -> None:
    assert prompts_of(captions, class_word=class_word).overfit_prompts == (expected,)


def test_a_run_of_a_face_is_checked_as_a_person() -> None:
    recipe = plans.recipe(method__kind="dreambooth", method__subject="face")
    assert plans.plan(recipe, plans.photos(["a photo of zkr"])).sample.overfit_prompts == (
        "a photo of zkr with red hair",
    )


def test_without_a_trigger_word_there_is_no_overfitting_check() -> None:
    assert prompts_of(("a cat",), trigger_word="").overfit_prompts == ()


@pytest.mark.parametrize(
    "caption", ["zkr (cartoon), ((red)), on a sofa", "zkr, [a:b:0.5], on [x|y]", r"zkr, miku \(v\), a\b"]
)
def test_brackets_of_a_caption_are_escaped_in_its_preview(caption: str) -> None:
    """Training encodes them as plain text, so the preview does too."""
    plan = plans.plan(plans.recipe(data__class_word="toy"), plans.photos((caption,)))
    ((own,),) = {part.texts for part in parse_prompt(plan.sample.prompts[0], 1)}
    assert "".join(piece.text for piece in own) == caption and {piece.weight for piece in own} == {1.0}
    assert str(describe_purpose(plan.sample.prompts[0], plan, (caption,))) == "one of your captions"
