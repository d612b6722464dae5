"""Results of work in threads come in the order of the items, and an error where its result would be."""

import threading
import time

import pytest

from tetrad.data.parallel import map_ahead


def test_results_are_in_order_though_later_ones_are_ready_first() -> None:
    def work(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number * number

    assert list(map_ahead(work, range(50))) == [number * number for number in range(50)]
    assert list(map_ahead(work, [])) == []


def test_an_error_is_raised_in_its_place_and_later_items_are_not_begun() -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        return 10 // (5 - number)

    results = map_ahead(work, range(1000))
    assert [next(results) for _ in range(5)] == [2, 2, 3, 5, 10]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert len(begun) < 100


def test_whoever_stops_iterating_leaves_no_thread_behind_and_no_work_is_begun_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.05)
        return number

    monkeypatch.setattr("tetrad.data.parallel.count_usable_cores", lambda: 4)
    before = threading.active_count()
    results = map_ahead(work, range(1000))
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before and len(begun) < 9, "nine were handed out"
