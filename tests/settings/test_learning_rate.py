"""Learning rates and their schedules, read from text."""

import tomllib

import pytest

from tetrad.errors import TetradError
from tetrad.settings import Recipe, Train, build_recipe, dump_recipe
from tetrad.settings.learning_rate import LearningRate, parse_learning_rate


def rates_at(rate: LearningRate, *steps: int) -> list[float]:
    return [rate(step) for step in steps]


def read_learning_rate(value: object) -> LearningRate | None:
    return build_recipe({"train": {"learning_rate": value}}).train.learning_rate


def refused(value: object) -> TetradError:
    with pytest.raises(TetradError) as caught:
        read_learning_rate(value)
    return caught.value


def test_a_bound_is_the_last_update_at_its_rate() -> None:
    # The web UI counts from 0: its steps 0…9 at 0.05, 10…19 at 0.02.
    rate = parse_learning_rate("0.05:10, 0.02:20, 0.0005")
    assert rates_at(rate, 1, 10, 11, 20, 21, 5000) == [0.05, 0.05, 0.02, 0.02, 5e-4, 5e-4]


@pytest.mark.parametrize("text", ["5e-6:1000,2.5e-7:-1", " 5e-6 : 1000 , 2.5e-7 ,", "5e-6:1000,,2.5e-7"])
def test_minus_one_is_the_end_and_blanks_are_ignored(text: str) -> None:
    rate = parse_learning_rate(text)
    assert rates_at(rate, 1000, 1001, 10**6) == [5e-6, 2.5e-7, 2.5e-7]
    assert rate.end_step is None


def test_after_its_end_a_schedule_keeps_its_last_rate() -> None:
    short = parse_learning_rate("0.05:10, 0.02:20")
    assert short(100) == 0.02 and short.end_step == 20
    assert parse_learning_rate("0.05:10, 0.02:-1").end_step is None


@pytest.mark.parametrize("text", [" , :", "abc", "0.1:x", "0.1:1e3", "0.1:5:6", "-1e-4:-1", "2:3", "nan:-1", "1e-4:"])
def test_text_that_is_not_a_rate_is_refused(text: str) -> None:
    error = refused(text)
    assert error.code == "E3131" and "train.learning_rate" in error.message


@pytest.mark.parametrize("text", ["-1e-4", "2", "nan", "inf", -1e-4, 2, 0.2, float("nan"), 0, "0", 10**400])
def test_a_number_out_of_range_is_refused_with_the_range(text: str | float) -> None:
    error = refused(text)
    assert error.code == "E3103" and "at most 0.1" in error.message


@pytest.mark.parametrize(
    "text", ["0.1:100,0.05:50,0.01", "0.1:100,0.05:100", "0.1,0.05:9", "0.1:-1,0.05:9", "0.1:0", "0.1:-2"]
)
def test_bounds_out_of_order_are_refused(text: str) -> None:
    error = refused(text)
    assert error.code == "E3132" and "train.learning_rate" in error.message and "\n" not in error.message


@pytest.mark.parametrize(
    "value,is_single", [(1e-4, True), ("1e-4", True), ("1e-4:-1", False), ("0.05:10, 0.02", False)]
)
def test_only_a_single_number_is_a_single_rate(value: float | str, is_single: bool) -> None:
    rate = read_learning_rate(value)
    assert rate is not None and rate.is_single_rate == is_single
    assert rate.multiply(0.5).is_single_rate == is_single and rate.multiply(0.5)(1) == rate(1) / 2


@pytest.mark.parametrize(
    "value",
    [
        3e-5,
        1.2345678e-4,
        "1e-4:-1",
        "0.05:10, 0.02",
        "0.05:10, 0.02:20",
        "1.2345678e-4:10, 1e-5",
        "1.00000049e-5:-1",
        "0.0123456789:5, 0",
        "0.1:3, 0.30000000000000004:9, 5e-324",
    ],
)
def test_a_written_learning_rate_reads_back_the_same(value: float | str) -> None:
    recipe = Recipe(train=Train(learning_rate=value))
    assert build_recipe(tomllib.loads(dump_recipe(recipe))) == recipe


def test_an_empty_text_is_no_learning_rate() -> None:
    assert read_learning_rate("") is None and Train().learning_rate is None
    assert "\nlearning_rate =" not in dump_recipe(Recipe())


@pytest.mark.parametrize(
    "text", ["1.2345678e-4:10, 1e-5", "1.00000049e-5:-1", "0.05:10, 0.02", "1:5, 2.5e-7", "5e-324:-1"]
)
def test_the_text_of_a_learning_rate_has_all_digits_and_no_more(text: str) -> None:
    assert str(parse_learning_rate(text)) == text
