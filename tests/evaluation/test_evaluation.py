"""Scores of images whose likeness, obedience and leak are known."""

from collections.abc import Sequence

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray

from tetrad.builtin.drawings import Placement, compose_image, load_atlas
from tetrad.builtin.vocabulary import BACKGROUNDS, SubjectStylePair
from tetrad.evaluation import builtin
from tetrad.evaluation.builtin_tasks import TASKS, EvaluationPrompt


def render(pairs: Sequence[SubjectStylePair], backgrounds: Sequence[str]) -> NDArray[np.uint8]:
    return np.stack(
        [
            compose_image(load_atlas()[pair], BACKGROUNDS[background], Placement())
            for pair, background in zip(pairs, backgrounds, strict=True)
        ]
    )


def correct_drawings(prompts: Sequence[EvaluationPrompt]) -> list[SubjectStylePair]:
    return [min(each.correct, key=str) for each in prompts]


def wrong_drawings(prompts: Sequence[EvaluationPrompt]) -> list[SubjectStylePair]:
    return [next(pair for pair in each.candidates if pair not in each.correct) for each in prompts]


def test_likeness_and_obedience_are_one_for_correct_images_and_zero_for_wrong_ones() -> None:
    prompts = TASKS["style"].make_prompts("zkr")[:3]
    backgrounds = [each.background for each in prompts]
    assert builtin.measure_likeness(prompts, render(correct_drawings(prompts), backgrounds)) == 1
    assert builtin.measure_likeness(prompts, render(wrong_drawings(prompts), backgrounds)) == 0
    assert builtin.measure_obedience(prompts, render(correct_drawings(prompts), backgrounds)) == 1
    other_backgrounds = [next(name for name in BACKGROUNDS if name != each) for each in backgrounds]
    assert builtin.measure_obedience(prompts, render(correct_drawings(prompts), other_backgrounds)) == 0


@pytest.mark.parametrize("change,leak", [(0, 0.0), (5, 0.5), (10, 1.0)])
def test_leak_is_the_change_relative_to_that_of_another_seed(
    monkeypatch: pytest.MonkeyPatch, change: int, leak: float
) -> None:
    """Images without the trigger word get `change` levels brighter after training; another seed makes that 10."""
    task, attached = TASKS["style"], []
    prompts = task.make_prompts("zkr")[:2]
    drawings = {True: correct_drawings(prompts), False: wrong_drawings(prompts)}

    def generate_arrays(
        model: object, texts: Sequence[str], first_seed: int = 0, on_step: object = None
    ) -> NDArray[np.uint8]:
        if "zkr" in texts[0]:
            return render(drawings[bool(attached)], [each.background for each in prompts])
        level = 100 + (10 if first_seed else 0) + (change if attached else 0)
        return np.full((len(texts), 8, 8, 3), level, np.uint8)

    monkeypatch.setattr(builtin, "generate_arrays", generate_arrays)
    scores = builtin.evaluate_training(
        tiny.build_model(is_shallow=True), task, "zkr", lambda: attached.append(True), count=2
    )
    assert scores == builtin.EvaluationScores(0.0, 1.0, 1.0, pytest.approx(leak))
    assert str(scores) == f"likeness 0% before, 100% after; obedience 100%; leak {leak:.2f}"
