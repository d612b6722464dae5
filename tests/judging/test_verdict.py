"""The verdict follows from the scores of a run, whichever of them there are, and so does the end of a run."""

from collections.abc import Mapping, Sequence

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
        ("no fault", {"training_loss": FALLING}),
        ("no fault", {"held_out_loss": (0.5, 0.3, 0.2, 0.25, 0.3), "training_loss": FALLING}),
        ("good", {"training_loss": FALLING, "likeness": (0.0, 0.1, 0.2, 0.3, 0.4)}),
        ("under-trained", {"training_loss": FALLING, "likeness": (0.0, 0.001, 0.0, 0.001, 0.001)}),
        ("under-trained", {"training_loss": (0.5, 0.499, 0.501, 0.5, 0.504), "drift": (0.0,) * 5}),
        ("under-trained", {"held_out_loss": (0.5, 0.499, 0.501, 0.5, 0.4999), "drift": (0.0, 0.1, 0.1, 0.1, 0.1)}),
        ("over-trained", {"training_loss": (0.5, 0.3, 0.2, 0.22, 0.23), "drift": (0.0, 0.01, 0.1, 0.15, 0.2)}),
        ("changed nothing", {"held_out_loss": (0.5,) * 5, "training_loss": (0.5,) * 5, "drift": (0.0,) * 5}),
        ("collapsed", {"held_out_loss": (0.5, 0.6, 0.7, 0.8, 0.9), "training_loss": (0.5, 0.5, 0.6, 0.7, 0.8)}),
        ("leaks", {"held_out_loss": FALLING, "training_loss": FALLING, "drift": (0.0, 0.2, 0.5, 0.8, 0.9)}),
        ("copies", {"held_out_loss": FALLING, "training_loss": FALLING, "copying": (0.0, 0.5, 0.9, 0.95, 0.99)}),
        ("unknown", {"kept": (1.0, 1.0, 1.0, 1.0, 1.0)}),
    ],
)
def test_the_scores_decide_the_verdict(word: str, scores: Losses) -> None:
    verdict = judge_run(rows(**scores))
    assert verdict.word == word
    assert bool(verdict.reasons) == (word != "unknown")
    assert (verdict.change is None) == (word in ("good", "no fault", "unknown"))


def test_the_best_file_has_learned_most_for_what_it_has_changed_of_other_images() -> None:
    """The held-out loss, lowest at step 10, has no part in it."""
    losses = {"training_loss": (0.5, 0.3, 0.2, 0.18, 0.16), "held_out_loss": (0.5, 0.2, 0.3, 0.4, 0.5)}
    verdict = judge_run(rows(**losses, drift=(0.0, 0.05, 0.1, 0.3, 0.6)))
    assert verdict.best is not None and verdict.best.step == 20
    gentle = judge_run(rows(**losses, drift=(0.0, 0.05, 0.1, 0.12, 0.14)))
    assert gentle.best is not None and gentle.best.step == 40


def test_what_cannot_be_told_is_said() -> None:
    unknown = " ".join(map(str, judge_run(rows(training_loss=FALLING)).unknown))
    assert all(each in unknown for each in ("judge.held_out", "copies", "none were generated"))
    risen = judge_run(rows(held_out_loss=(0.5, 0.3, 0.2, 0.25, 0.3), training_loss=FALLING))
    assert "lowest at step 20 (-60.0%) and is -40.0% now" in " ".join(map(str, risen.unknown))


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
