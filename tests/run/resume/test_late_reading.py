"""Where the results of several steps are read together, a run ends with the same files, and no step waits for them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from test_exact import contents, finish, make_recipe, place, point_after_every_step
from test_faults import current, poison_latents, save_points_only_after
from torch.utils._python_dispatch import TorchDispatchMode

from tetrad.errors import TetradError
from tetrad.run.train import train
from tetrad.run.updates import Updates
from tetrad.training import loop, reading

__all__ = ["current", "place", "point_after_every_step"]  # the fixtures
SETTINGS: dict[str, Any] = {"method.kind": "lora", "train.steps": 12, "save.every": 5}


class Reads(TorchDispatchMode):
    """Counts how often a value is read on the host."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.name() == "aten::_local_scalar_dense"
        return func(*args, **(kwargs or {}))


def read_late(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """As on a GPU, from the first step on and however slow; returns the steps that were read together, as they come."""
    groups: list[list[int]] = []
    original = reading.read_results

    def read(steps: Sequence[loop.Step], start: float) -> list[loop.Step]:
        groups.append([step.number for step in steps])
        return original(steps, start)

    monkeypatch.setattr(reading, "read_results", read)
    monkeypatch.setattr(reading, "_EARLIER_STEPS", 1)
    monkeypatch.setattr(reading, "_MAX_SECONDS", 60)
    monkeypatch.setattr(Updates, "waits_for_device", False)
    return groups


@pytest.mark.parametrize(
    "settings,poisoned",
    [
        ({}, [3, 4, 8]),
        ({"train.fused_backward": True}, [3, 7]),
        ({"method.text_encoder": True, "train.text_encoder_share": 0.25}, [6, 7, 8]),  # it goes back
        ({}, [6, 7, 8, 9, 10, 11]),  # it goes back and then stops
    ],
)
def test_it_makes_no_difference_even_where_steps_give_nan(
    settings: dict[str, Any],
    poisoned: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    current: list[int],
) -> None:
    poison_latents(monkeypatch, current, poisoned)
    save_points_only_after(monkeypatch, [5])  # where a file is due too, so that it is read then
    folders = []
    groups: list[list[int]] = []
    for name in ("each", "together"):
        groups = [] if name == "each" else read_late(monkeypatch)
        recipe = make_recipe(tmp_path / name, **SETTINGS | settings)
        try:
            folders.append(finish(train(recipe)))
        except TetradError as error:
            assert error.code == "E7001"
            folders.append(tmp_path / name / "zkr")
    assert contents(folders[0]) == contents(folders[1])
    assert max(map(len, groups)) > 2
    records = [map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()) for folder in folders]
    assert [{**record, "time": 0} for record in records[0]] == [{**record, "time": 0} for record in records[1]]
    times = [json.loads(line)["time"] for line in (folders[1] / "metrics.jsonl").read_text().splitlines()]
    assert times == sorted(times) and len(set(times)) > len(times) / 2


def test_the_first_steps_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_MAX_SECONDS", 60)
    zero = torch.zeros(())
    steps = (loop.Step(number, (), zero, zero, zero) for number in range(1, 100))
    lengths = [len(group) for group in reading.read_together(steps, max_unread=5)]
    assert lengths[:9] == [1, 1, 1, 1, 1, 1, 1, 2, 2] and max(lengths) == 6 and sum(lengths) == 99


def test_groups_end_where_something_is_due_and_no_other_step_reads_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_points_only_after(monkeypatch, [])
    groups = read_late(monkeypatch)
    original, reads = loop.training_steps, Reads()

    def training_steps(*arguments: Any, **settings: Any) -> Any:
        steps = original(*arguments, **settings)
        while True:
            with reads:
                step = next(steps, None)
            if step is None:
                return
            yield step

    monkeypatch.setattr("tetrad.run.updates.training_steps", training_steps)
    finish(train(make_recipe(tmp_path, **SETTINGS)))
    assert groups == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12]]
    assert reads.count == 0
