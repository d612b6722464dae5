"""The counts of a step are kept for the same layers, method and size."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny

from tetrad.estimate import step_cache
from tetrad.estimate.step_cache import recall_step_cost
from tetrad.methods import METHODS

LORA = METHODS["lora"](rank=2)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[object]]:
    """What was really counted, with an empty cache."""
    calls: list[object] = []
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path))
    count = step_cache.measure_step_cost
    monkeypatch.setattr(step_cache, "measure_step_cost", lambda *given: calls.append(given) or count(*given))
    yield calls


def test_a_step_is_counted_once(counted: list[object]) -> None:
    first = recall_step_cost(tiny.build_model(is_shallow=True), LORA, 64, 64)
    assert recall_step_cost(tiny.build_model(is_shallow=True), LORA, 64, 64) == first and len(counted) == 1


def test_another_method_size_or_model_is_counted_again(counted: list[object]) -> None:
    model = tiny.build_model(is_shallow=True)
    for given in ((model, LORA, 64, 64), (model, METHODS["lora"](rank=4), 64, 64), (model, LORA, 64, 32)):
        recall_step_cost(*given)
    recall_step_cost(model, LORA, 64, 64, 2)
    recall_step_cost(tiny.build_model(layers=3, is_shallow=True), LORA, 64, 64)
    assert len(counted) == 5


@pytest.mark.parametrize(
    "content", ["", "[]", '{"trainable_shapes": 3}', '{"trainable_shapes": [[2]], "operations": -1}']
)
def test_a_damaged_file_is_counted_again(counted: list[object], tmp_path: Path, content: str) -> None:
    first = recall_step_cost(tiny.build_model(is_shallow=True), LORA, 64, 64)
    [file] = (tmp_path / "steps").iterdir()
    file.write_text(content)
    assert recall_step_cost(tiny.build_model(is_shallow=True), LORA, 64, 64) == first and len(counted) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "file"))
    assert recall_step_cost(tiny.build_model(is_shallow=True), LORA, 64, 64).operations > 0
