"""The dtype that a run computes in where its recipe leaves that open."""

from pathlib import Path

import pytest
import tiny
import torch
from short_runs import QUICK, make_recipe, save_model_and_images

from tetrad.run import precision
from tetrad.run.continuation import locate_start
from tetrad.run.events import Note
from tetrad.run.planned_run import FreshSources, plan_run, read_dataset
from tetrad.run.precision import select_training_device
from tetrad.run.train import train
from tetrad.settings import build_recipe


def choose(
    monkeypatch: pytest.MonkeyPatch, folder: Path, gain: float, smallest: int = 1_000, **given: str
) -> torch.dtype:
    """The dtype for a tiny model, on a CPU that computes in bfloat16 `gain` times as fast as in float32."""
    monkeypatch.setattr(precision, "has_native_bfloat16", lambda: gain > 0)
    monkeypatch.setattr(precision, "measure_bfloat16_gain", lambda: gain)
    monkeypatch.setattr(precision, "SINGLE_THREAD_MAX_PARAMETERS", smallest)
    model = tiny.save_shallow_checkpoint(folder / "model.safetensors")
    train = build_recipe({"model": str(model), "train": {"device": "cpu", **given}}).train
    return select_training_device(train.device, train.precision, str(model)).dtype


def test_a_large_model_is_trained_in_bfloat16_where_the_cpu_is_faster_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert choose(monkeypatch, tmp_path, gain=1.5) == torch.bfloat16


@pytest.mark.parametrize(
    "case",
    [{"gain": 1.1}, {"gain": 0}, {"gain": 1.5, "smallest": 10**9}, {"gain": 1.5, "precision": "fp32"}],
    ids=["no faster", "emulated", "small model", "asked for float32"],
)
def test_otherwise_a_cpu_trains_in_float32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: dict) -> None:
    assert choose(monkeypatch, tmp_path, **case) == torch.float32


def test_a_run_and_its_plan_use_that_dtype_and_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(save_model_and_images(tmp_path, 1))
    monkeypatch.setattr(precision, "has_native_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "measure_bfloat16_gain", lambda: 2.0)
    monkeypatch.setattr(precision, "SINGLE_THREAD_MAX_PARAMETERS", 1_000)
    recipe = make_recipe(tmp_path, QUICK | {"train.steps": 1, "save.name": "run", "train.device": "cpu"})
    notes = [str(event.message) for event in train(recipe) if isinstance(event, Note)]
    located = locate_start(recipe)
    planned = plan_run(located, read_dataset(located), FreshSources())
    assert planned.plan.train.dtype == "bfloat16"
    assert 'dtype = "bfloat16"' in (tmp_path / "run" / "plan.toml").read_text()
    assert [each for each in notes if "trains in bfloat16" in each]
    assert [each for each in planned.notes if "trains in bfloat16" in str(each.message)]


def test_the_gain_is_measured() -> None:
    assert precision.measure_bfloat16_gain() > 0
