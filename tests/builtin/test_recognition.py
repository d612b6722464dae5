"""What a picture shows is told rightly where the answer is known, and no question was ever trained on."""

import numpy as np
import pytest

from tetrad.builtin import samples_path
from tetrad.builtin.drawings import atlas, compose, random_placement
from tetrad.builtin.recognition import background_name, distances
from tetrad.builtin.tasks import TASKS, without_word
from tetrad.builtin.vocabulary import (
    BACKGROUNDS,
    HELD_OUT,
    ICON_SET,
    STYLES,
    TRAINED,
    Pair,
    left_out_pairs,
    trained_pairs,
)


@pytest.mark.parametrize("subject", ["red-apple", "robot", "house", "panda"])
def test_a_drawing_placed_anywhere_is_nearest_to_itself(subject: str) -> None:
    rng = np.random.default_rng(0)
    pair, candidates = Pair(subject, ICON_SET), [Pair(name, ICON_SET) for name in (*TRAINED[::5], subject, "red-apple")]
    picture = compose(atlas()[pair], BACKGROUNDS["blue"], random_placement(rng))
    assert candidates[int(distances(picture, candidates, "blue").argmin())] == pair
    assert background_name(picture) == "blue"


@pytest.mark.parametrize("name", TASKS)
def test_no_question_was_trained_on(name: str) -> None:
    questions = TASKS[name].questions("zkr")
    captions = {file.read_text("utf-8").strip() for file in samples_path(f"builtin:{name}").glob("*.txt")}
    assert len(questions) == 32
    assert captions.isdisjoint(question.prompt for question in questions)
    assert all(" zkr" in question.prompt and question.right < set(question.candidates) for question in questions)


def test_prompts_for_the_leak_hold_no_word_and_are_known_to_the_model() -> None:
    assert len(set(without_word())) == 16
    assert not any("zkr" in prompt for prompt in without_word())


def test_what_is_held_out_and_left_out_is_not_trained() -> None:
    assert set(HELD_OUT).isdisjoint(TRAINED)
    assert set(left_out_pairs()).isdisjoint(trained_pairs())
    assert len(TRAINED) >= 150
    assert len(left_out_pairs()) >= 100
    assert {pair.drawing_set for pair in trained_pairs()} == set(STYLES)
