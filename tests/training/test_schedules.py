"""Learning rates: what a text means, and what is wrong with one."""

import pytest

from tetrad.errors import TetradError
from tetrad.training.schedules import Fall, Schedule, constant, parsed, scheduled


def rates(schedule: Schedule, *steps: int) -> list[float]:
    return [schedule(step) for step in steps]


def test_a_bound_is_the_last_update_at_its_rate() -> None:
    # The web UI counts from 0: its steps 0…9 at 0.05, 10…19 at 0.02.
    assert rates(parsed("0.05:10, 0.02:20, 0.0005"), 1, 10, 11, 20, 21, 5000) == [0.05, 0.05, 0.02, 0.02, 5e-4, 5e-4]


@pytest.mark.parametrize("text", ["5e-6:1000,2.5e-7:-1", " 5e-6 : 1000 , 2.5e-7 ,", "5e-6:1000,,2.5e-7"])
def test_minus_one_is_the_end_and_blanks_do_not_count(text: str) -> None:
    assert rates(parsed(text), 1000, 1001, 10**6) == [5e-6, 2.5e-7, 2.5e-7]
    assert parsed(text).end is None


@pytest.mark.parametrize("text", ["", " , ", "abc", "0.1:x", "0.1:1e3", "0.1:5:6", "-1e-4", "2", "nan", "inf", "1e-4:"])
def test_what_is_no_rate_is_an_error(text: str) -> None:
    with pytest.raises(TetradError) as caught:
        parsed(text)
    assert caught.value.code == "E3131"


@pytest.mark.parametrize(
    "text", ["0.1:100,0.05:50,0.01", "0.1:100,0.05:100", "0.1,0.05", "0.1:-1,0.05:9", "0.1:0", "0.1:-2"]
)
def test_bounds_that_make_no_sense_are_an_error(text: str) -> None:
    with pytest.raises(TetradError) as caught:
        parsed(text)
    assert caught.value.code == "E3132"


def test_a_schedule_that_ends_early_keeps_its_last_rate_and_says_so() -> None:
    short = parsed("0.05:10, 0.02:20")
    assert short(100) == 0.02 and short.end == 20
    assert short.warnings(20) == [] and parsed("0.05:10, 0.02:-1").warnings(100) == []
    assert "ends at step 20" in short.warnings(100)[0]
    assert "25 steps are already done" in short.warnings(100, before=25)[0]


def test_a_plain_number_takes_the_shape_and_a_schedule_does_not() -> None:
    assert rates(scheduled("1e-4", Fall("linear", 4)), 1, 2, 3, 4) == pytest.approx([1e-4, 0.75e-4, 0.5e-4, 0.25e-4])
    assert rates(scheduled("1e-4:-1", Fall("linear", 4)), 1, 4) == [1e-4, 1e-4]
    assert rates(scheduled("0.2:2, 0.1", Fall("cosine", 4, 2)), 1, 2, 3, 4) == [0.2, 0.2, 0.1, 0.1]


def test_a_part_rests_once_it_will_learn_no_more() -> None:
    share = constant(1e-4).until(3)
    assert rates(share, 3, 4) == [1e-4, 0] and not share.rests(3) and share.rests(4)
    text = parsed("1e-4:3, 0:-1")
    assert not text.rests(3) and text.rests(4)
    assert constant(0).rests(1) and not parsed("0:3, 1e-4").rests(1)


def test_shapes_start_full_and_end_at_nothing() -> None:
    assert [Fall("constant", 4)(step) for step in range(1, 5)] == [1.0] * 4
    assert [Fall("linear", 4)(step) for step in range(1, 5)] == [1.0, 0.75, 0.5, 0.25]
    assert [Fall("polynomial", 4)(step) for step in range(1, 6)] == [1.0, 0.75**2, 0.25, 0.25**2, 0.0]
    cosine = [Fall("cosine", 4)(step) for step in range(1, 6)]
    assert cosine[0] == 1 and abs(cosine[2] - 0.5) < 1e-12 and abs(cosine[4]) < 1e-12
    again = [Fall("cosine_with_restarts", 6, cycles=3)(step) for step in range(1, 8)]
    assert again == pytest.approx([1, 0.5, 1, 0.5, 1, 0.5, 0])
    assert Fall("cosine", 1)(1) == 1.0


def test_warm_up_rises_step_by_step() -> None:
    assert [Fall("constant", 10, 3)(step) for step in range(1, 6)] == [0.25, 0.5, 0.75, 1.0, 1.0]
