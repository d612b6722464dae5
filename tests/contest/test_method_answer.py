"""Which method to use: by one rule, and never by what is within the errors."""

from pathlib import Path

import pytest

from tetrad.contest.answer import find_answer
from tetrad.contest.figures import Result, describe_figures, list_figures
from tetrad.judging.scores import Score
from tetrad.methods import METHODS


def make_result(method: str, likeness: float, obedience: float = 0.9, size: int = 1000, **scores: float) -> Result:
    values = {"likeness": likeness, "obedience": obedience, **scores}
    found = {name: Score(value, 0.05) for name, value in values.items()}
    return Result(method, Path(method), Path(f"{method}.safetensors"), 100, 100, 10, 60, 1 << 30, size, found)


@pytest.mark.parametrize(
    ("results", "pick", "words"),
    [
        ([("lora", 0.8), ("dreambooth", 0.5)], "lora", "clearly the highest; DreamBooth is next with 50 %"),
        ([("lora", 0.8, 0.5), ("dreambooth", 0.85, 0.9)], "dreambooth", "follows the rest"),
        ([("lora", 0.8, 0.9, 20), ("dreambooth", 0.85, 0.9, 900)], "lora", "as high as that of DreamBooth"),
        ([("lora", 0.8), ("dreambooth", 0.05)], "lora", "only its images"),
        ([("lora", 0.05), ("dreambooth", -0.2)], None, "None yet"),
    ],
)
def test_the_rule_decides_by_likeness_then_obedience_then_size(
    results: list[tuple[str, float]], pick: str | None, words: str
) -> None:
    answer = find_answer([make_result(*each) for each in results])
    assert answer and (answer.pick.method if answer.pick else None) == pick and words in str(answer.reason)


def test_a_higher_likeness_within_the_errors_does_not_win() -> None:
    small, large = make_result("textual-inversion", 0.70, size=6), make_result("dreambooth", 0.83, size=9000)
    answer = find_answer([small, large])
    assert answer and answer.pick is small and "likeness" not in answer.best
    answer = find_answer([small, make_result("dreambooth", 0.85, size=9000)])
    assert answer and answer.pick and answer.pick.method == "dreambooth" and answer.best["likeness"] == {"dreambooth"}


def test_copies_and_a_single_image_again_and_again_do_not_win() -> None:
    good = make_result("lora", 0.5, spread=0.9, copying=0.0)
    for fault in ({"copying": 0.6}, {"spread": 0.1}):
        answer = find_answer([good, make_result("dreambooth", 0.9, **fault)])
        assert answer and answer.pick is good and "copy training images" in str(answer.reason)


def test_that_all_copy_is_said() -> None:
    for others in ([make_result("dreambooth", 0.9, spread=0.1)], [make_result("dreambooth", 0.01)]):
        answer = find_answer([make_result("lora", 0.5, copying=0.6), *others])
        assert answer and answer.pick and "with care: it copies training images" in str(answer.reason)


def test_what_each_is_best_for_is_only_what_it_alone_has() -> None:
    results = [make_result("lora", 0.8, leak=0.6, size=20), make_result("hypernetwork", 0.78, leak=0.1, size=20)]
    answer = find_answer(results)
    assert answer and answer.best_for["lora"] == ()
    assert [str(each) for each in answer.best_for["hypernetwork"]] == [
        "Hypernetwork changes other images least: leak 10 % ± 5"
    ]


def test_without_scores_there_is_no_answer_and_no_figure_of_them() -> None:
    bare = Result("lora", Path("lora"), Path("a"), 100, 100)
    assert find_answer([bare, make_result("dreambooth", 0.5)]) is None
    assert describe_figures(bare) == {"steps": "100"} and list_figures([bare]) == ["steps"]


def test_every_method_has_a_name() -> None:
    assert all(str(make_result(kind, 0.5).title) for kind in METHODS)
