"""The verdict follows from the scores of a run, whichever of them there are, and so does the end of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from tetrad.judging import CheckpointScores, Score, explain_end, judge_run

FALLING = (0.5, 0.3, 0.2, 0.19, 0.188)
Losses = Mapping[str, Sequence[float]]


def rows(**values: Sequence[float]) -> list[CheckpointScores]:
    """A row from before the first step and one for each file; the values of each score in this order."""
    counts = {len(each) for each in values.values()}
    return [
        CheckpointScores(
            10 * number,
            f"zkr-step{10 * number:08d}.safetensors" if number else "",
            scores={name: Score(each[number], 0.001) for name, each in values.items()},
        )
        for number in range(counts.pop())
    ]


@pytest.mark.parametrize(
    ("word", "scores"),
    [
        ("good", {"held_out_loss": FALLING, "training_loss": FALLING}),
        ("over-trained", {"held_out_loss": (0.5, 0.3, 0.2, 0.25, 0.3), "training_loss": FALLING}),
        ("under-trained", {"held_out_loss": (0.5, 0.45, 0.4, 0.35, 0.3), "training_loss": FALLING}),
        ("under-trained", {"held_out_loss": (0.5, 0.499, 0.5, 0.501, 0.4999), "training_loss": FALLING}),
        ("changed nothing", {"held_out_loss": (0.5,) * 5, "training_loss": (0.5,) * 5, "drift": (0.0,) * 5}),
        ("collapsed", {"held_out_loss": (0.5, 0.6, 0.7, 0.8, 0.9), "training_loss": (0.5, 0.5, 0.6, 0.7, 0.8)}),
        ("leaks", {"held_out_loss": FALLING, "training_loss": FALLING, "drift": (0.0, 0.2, 0.5, 0.8, 0.9)}),
        ("copies", {"held_out_loss": FALLING, "training_loss": FALLING, "copying": (0.0, 0.5, 0.9, 0.95, 0.99)}),
        ("unknown", {"training_loss": FALLING}),
        ("unknown", {"held_out_loss": (0.5, 0.3), "training_loss": (0.5, 0.3)}),  # it may still be falling
    ],
)
def test_the_scores_decide_the_verdict(word: str, scores: Losses) -> None:
    verdict = judge_run(rows(**scores))
    assert verdict.word == word
    assert bool(verdict.reasons) == (word != "unknown")
    assert (verdict.change is None) == (word in ("good", "unknown"))


def test_a_loss_that_stops_falling_because_the_learning_rate_ends_may_still_be_falling() -> None:
    flat = rows(held_out_loss=(0.5, 0.4, 0.35, 0.34, 0.33), training_loss=FALLING)
    assert judge_run(flat).word == "good"
    rates = (0.0, 4.0, 7.0, 7.9, 8.0)  # as with cosine
    verdict = judge_run([replace(row, learning_rate_sum=sum) for row, sum in zip(flat, rates, strict=True)])
    assert verdict.word == "under-trained"
    assert "41% of it after step 10, where the learning rates add up to 50% of the whole" in str(verdict.reasons[0])


def test_the_best_file_has_the_lowest_held_out_loss() -> None:
    verdict = judge_run(rows(held_out_loss=(0.5, 0.3, 0.2, 0.25, 0.3), training_loss=FALLING))
    assert verdict.best is not None and verdict.best.step == 20
    assert "train.steps = 20" in str(verdict.change)


def test_what_cannot_be_told_is_said() -> None:
    unknown = " ".join(map(str, judge_run(rows(training_loss=FALLING)).unknown))
    assert "judge.held_out" in unknown and "copies" in unknown


@pytest.mark.parametrize(
    ("ends", "held_out", "training"),
    [
        (False, (0.5, 0.4, 0.3, 0.2, 0.15, 0.1), (0.5, 0.4, 0.3, 0.2, 0.15, 0.1)),
        (True, (0.5, 0.3, 0.2, 0.2, 0.2, 0.2), (0.5, 0.3, 0.2, 0.2, 0.2, 0.2)),
        (True, (0.5, 0.3, 0.2, 0.25, 0.3, 0.3), (0.5, 0.4, 0.3, 0.2, 0.15, 0.1)),  # it learns by heart
        (False, (0.5, 0.3, 0.2, 0.2, 0.2, 0.2), (0.5, 0.4, 0.3, 0.2, 0.15, 0.1)),
    ],
)
def test_a_run_ends_when_its_losses_have_stopped_falling(
    ends: bool, held_out: Sequence[float], training: Sequence[float]
) -> None:
    assert (explain_end(rows(held_out_loss=held_out, training_loss=training)) is not None) == ends
