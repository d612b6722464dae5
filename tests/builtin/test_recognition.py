"""Recognition of known drawings, and that evaluation prompts and held-out drawings are never trained on."""

import numpy as np
import pytest

from tetrad.builtin import resolve_images_path
from tetrad.builtin.drawings import compose_image, load_atlas, random_placement
from tetrad.builtin.recognition import compute_distances, detect_background
from tetrad.builtin.vocabulary import (
    BACKGROUNDS,
    HELD_OUT_SUBJECTS,
    ICON_SET,
    STYLE_WORDS,
    TRAINED_SUBJECTS,
    SubjectStylePair,
    list_left_out_pairs,
    list_trained_pairs,
)
from tetrad.evaluation.builtin_tasks import TASKS, make_prompts_without_trigger_word


@pytest.mark.parametrize("subject", ["red-apple", "robot", "house", "panda"])
def test_a_drawing_is_nearest_to_itself_at_any_placement(subject: str) -> None:
    rng = np.random.default_rng(0)
    pair, candidates = (
        SubjectStylePair(subject, ICON_SET),
        [SubjectStylePair(name, ICON_SET) for name in (*TRAINED_SUBJECTS[::5], subject, "red-apple")],
    )
    image = compose_image(load_atlas()[pair], BACKGROUNDS["blue"], random_placement(rng))
    assert candidates[int(compute_distances(image, candidates, "blue").argmin())] == pair
    assert detect_background(image) == "blue"


@pytest.mark.parametrize("name", TASKS)
def test_evaluation_prompts_are_not_training_captions(name: str) -> None:
    items = TASKS[name].make_prompts("zkr")
    captions = {file.read_text("utf-8").strip() for file in resolve_images_path(f"builtin:{name}").glob("*.txt")}
    assert len(items) == 32
    assert captions.isdisjoint(item.prompt for item in items)
    assert all(" zkr" in item.prompt and item.correct < set(item.candidates) for item in items)


def test_prompts_of_the_leak_test_have_no_trigger_word() -> None:
    assert len(set(make_prompts_without_trigger_word())) == 16
    assert not any("zkr" in prompt for prompt in make_prompts_without_trigger_word())


def test_held_out_and_left_out_pairs_are_not_trained() -> None:
    assert set(HELD_OUT_SUBJECTS).isdisjoint(TRAINED_SUBJECTS)
    assert set(list_left_out_pairs()).isdisjoint(list_trained_pairs())
    assert len(TRAINED_SUBJECTS) >= 150
    assert len(list_left_out_pairs()) >= 100
    assert {pair.drawing_set for pair in list_trained_pairs()} == set(STYLE_WORDS)
