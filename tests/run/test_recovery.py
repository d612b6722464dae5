"""When steps that give NaN are too many, and when a resume point is saved because of them."""

import json
from collections.abc import Iterable

from tetrad.run.recovery import Recovery


def too_often_after(steps: Iterable[int], recovery: Recovery) -> list[int]:
    """The steps after which a warning is not enough."""
    found = []
    for step in steps:
        recovery.leave_out(step)
        if recovery.is_too_often(step):
            found.append(step)
    return found


def test_three_in_a_row_are_too_many() -> None:
    assert too_often_after([3, 4, 6, 7, 8], Recovery()) == [8]
    assert Recovery(left_out=[4, 6, 7, 8]).first_in_a_row(8) == 6


def test_more_than_ten_within_a_hundred_are_too_many() -> None:
    assert too_often_after(range(9, 109, 9), Recovery()) == [99, 108]
    assert not too_often_after(range(10, 1000, 11), Recovery())


def test_steps_before_going_back_do_not_count_again() -> None:
    recovery = Recovery()
    assert too_often_after([1, 2, 3], recovery) == [3]
    recovery.go_back(3, 0)
    assert too_often_after([4, 5, 6], recovery) == [6]


def test_a_point_is_saved_at_once_after_a_decision_and_not_after_a_step_left_out() -> None:
    recovery = Recovery()
    assert recovery.wish_for_point(1) == "usual"
    recovery.leave_out(2)
    assert recovery.wish_for_point(2) == "later"
    recovery.use_smaller_parts(3, 5)
    assert [recovery.wish_for_point(step) for step in (2, 2, 3)] == ["now", "later", "usual"]  # made before step 3
    recovery.go_back(5, 1)
    assert [recovery.wish_for_point(step) for step in (4, 5)] == ["usual", "now"]
    assert recovery.samples_at_once == 3


def test_it_is_the_same_after_a_resume_point() -> None:
    recovery = Recovery(left_out=[4, 5], returned_at=3, samples_at_once=2, gradient_checkpointing=True)
    resumed = Recovery()
    resumed.restore(json.loads(json.dumps(recovery.as_values())))
    assert resumed == recovery
