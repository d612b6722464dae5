"""The verdict and the strength by generated images alone."""

import pytest

from tetrad.judging import CheckpointScores, Score, judge_run, propose_strength


def _row(strength: float = 1.0, **scores: float) -> CheckpointScores:
    return CheckpointScores(10, "zkr.safetensors", strength, {name: Score(each, 0.05) for name, each in scores.items()})


BASE = CheckpointScores(0, strength=0.0, scores={"likeness": Score(0.0), "kept": Score(1.0), "sanity": Score(0.9, 0.1)})


@pytest.mark.parametrize(
    ("word", "scores"),
    [
        ("good", {"likeness": 0.4, "kept": 0.95}),
        ("under-trained", {"likeness": 0.06, "kept": 0.95}),
        ("leaks", {"likeness": 0.4, "kept": 0.3}),
        ("over-trained", {"likeness": 0.4, "sanity": 0.2}),
        ("good", {"likeness": 0.4, "sanity": 0.7}),
        ("under-trained", {"likeness": 0.06, "sanity": 0.2}),
        ("collapsed", {"likeness": 0.4, "spread": 0.1}),
        ("copies", {"likeness": 0.4, "copying": 1.0}),
    ],
)
def test_images_alone_give_a_verdict(word: str, scores: dict[str, float]) -> None:
    assert judge_run([BASE, _row(**scores)]).word == word


def test_the_proposed_strength_is_the_lowest_that_costs_no_likeness() -> None:
    rows = [_row(each, likeness=value) for each, value in ((0.4, 0.30), (0.6, 0.46), (0.8, 0.49), (1.0, 0.50))]
    proposal = propose_strength(rows, "zkr.safetensors")
    assert proposal and (proposal.strength, proposal.highest_strength) == (0.6, 1.0)
    assert propose_strength(rows, "other.safetensors") is None
    unclear = propose_strength([_row(0.4, likeness=0.03), _row(1.0, likeness=-0.02)], "zkr.safetensors")
    assert unclear and unclear.strength == 1.0 and "does not tell" in str(unclear.reason)
