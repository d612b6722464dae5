"""Steps that give NaN, memory that runs out, errors out of a step: what was learned stays, and resuming is exact."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_exact import CASES, contents, crash_at, finish, make_recipe, place, point_after_every_step
from torch import Tensor

from tetrad.data.batches import Batch, Batches
from tetrad.errors import TetradError
from tetrad.formats.weight_files import read_weight_file
from tetrad.run import updates
from tetrad.run.events import Note, Saved
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.resume.points import read_newest_point
from tetrad.run.resume.resume import resume
from tetrad.run.train import train
from tetrad.settings import Recipe
from tetrad.training import gradients, loop

__all__ = ["place", "point_after_every_step"]  # the fixtures
LORA: dict[str, Any] = {"method.kind": "lora", "train.steps": 8, "save.every": 1}
NAN = torch.nan


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The step that is being trained."""
    found = [0]
    original = loop.set_learning_rates

    def note_step(optimizer: Any, schedules: Any, step: int) -> bool:
        found[0] = step
        return original(optimizer, schedules, step)

    monkeypatch.setattr(loop, "set_learning_rates", note_step)
    return found


def poison_latents(monkeypatch: pytest.MonkeyPatch, current: list[int], steps: Sequence[int]) -> None:
    original = Batches.get_update_batches

    def get_update_batches(self: Batches, number: int, accumulation: int = 1) -> list[Batch]:
        batches = original(self, number, accumulation)
        if number + 1 not in steps:
            return batches
        return [replace(batch, latents=batch.latents.index_fill(0, torch.tensor([0]), NAN)) for batch in batches]

    monkeypatch.setattr(Batches, "get_update_batches", get_update_batches)


def poison_loss(monkeypatch: pytest.MonkeyPatch, current: list[int], steps: Sequence[int]) -> None:
    original = gradients.denoising_loss

    def denoising_loss(*arguments: Any) -> Tensor:
        return original(*arguments) * (NAN if current[0] in steps else 1)

    monkeypatch.setattr(gradients, "denoising_loss", denoising_loss)


def poison_gradient(monkeypatch: pytest.MonkeyPatch, current: list[int], steps: Sequence[int]) -> None:
    original = gradients.denoising_loss

    def denoising_loss(*arguments: Any) -> Tensor:
        losses = original(*arguments)
        if current[0] in steps:
            losses.register_hook(lambda gradient: gradient * NAN)
        return losses

    monkeypatch.setattr(gradients, "denoising_loss", denoising_loss)


def poison_text(monkeypatch: pytest.MonkeyPatch, current: list[int], steps: Sequence[int]) -> None:
    original = gradients.denoising_loss

    def denoising_loss(model: Any, condition: Any, objective: Any, noisy: Any) -> Tensor:
        def bad_condition(*arguments: Any) -> Any:
            c = condition(*arguments)
            return replace(c, hidden_states=c.hidden_states * NAN)

        return original(model, bad_condition if current[0] in steps else condition, objective, noisy)

    monkeypatch.setattr(gradients, "denoising_loss", denoising_loss)


Poison = Callable[[pytest.MonkeyPatch, list[int], Sequence[int]], None]
POISONS: list[Poison] = [poison_latents, poison_loss, poison_gradient, poison_text]


def train_and_watch(recipe: Recipe) -> tuple[Path, dict[str, Note]]:
    """Train to the end; returns the run's folder and the last note with each code."""
    events = list(train(recipe))
    return finish(iter(events)), {event.code: event for event in events if isinstance(event, Note) and event.code}


def learned(folder: Path, step: int) -> dict[str, bytes]:
    """The tensors that were saved at a step."""
    (path,) = folder.glob(f"*-step{step:08d}.*")
    return {name: tensor.numpy().tobytes() for name, tensor in read_weight_file(path).tensors.items()}


def assert_all_files_finite(folder: Path) -> None:
    files = list(folder.rglob("*.safetensors"))
    assert files and all(each.isfinite().all() for file in files for each in read_weight_file(file).tensors.values())


@pytest.mark.parametrize("poison", POISONS, ids=lambda each: each.__name__)
def test_a_step_with_nan_changes_nothing_and_training_goes_on(
    poison: Poison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, current: list[int]
) -> None:
    poison(monkeypatch, current, [3])
    folder, notes = train_and_watch(make_recipe(tmp_path, **LORA | {"train.ema": 0.9, "train.steps": 4}))
    assert notes["W7001"].message.values["step"] == 3
    assert learned(folder, 3) == learned(folder, 2) != learned(folder, 1)
    assert_all_files_finite(folder)
    losses = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [loss is None for loss in losses] == ([False] * 2 + [poison is not poison_gradient, False])
    assert "NaN" not in (folder / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    "case", ["lora with an average", "dreambooth with an average, fused backward and no cached latents"]
)
def test_a_run_with_left_out_steps_is_resumed_exactly(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, current: list[int]
) -> None:
    poison_latents(monkeypatch, current, [3, 4])
    whole = finish(train(make_recipe(tmp_path / "whole", **CASES[case])))
    folder = crash_at(make_recipe(tmp_path / "broken", **CASES[case]), 4)
    assert contents(finish(resume(folder))) == contents(whole)


def save_points_only_after(monkeypatch: pytest.MonkeyPatch, steps: Sequence[int]) -> None:
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: steps_done in steps)


def test_after_three_steps_with_nan_the_run_goes_back_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, current: list[int]
) -> None:
    """The text encoder stops after step 2, so captions are encoded anew when the run has gone back."""
    settings = {"method.text_encoder": True, "train.text_encoder_share": 0.25, "train.ema": 0.9}
    poison_latents(monkeypatch, current, [3, 4, 5])
    save_points_only_after(monkeypatch, [1])
    whole, notes = train_and_watch(make_recipe(tmp_path / "whole", **LORA | settings))
    assert notes["W7002"].message.values == {"point_step": 1, "next_step": 6}
    assert learned(whole, 4) == learned(whole, 2) != learned(whole, 1) == learned(whole, 5)
    folder = crash_at(make_recipe(tmp_path / "broken", **LORA | settings), 6)
    assert contents(finish(resume(folder))) == contents(whole)


@pytest.mark.parametrize("steps,stops_at", [([3, 4, 5, 6, 7, 8], 8), ([1, 2, 3], 3)])
def test_when_it_happens_again_or_there_is_no_point_the_run_stops(
    steps: list[int], stops_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, current: list[int]
) -> None:
    poison_latents(monkeypatch, current, steps)
    with pytest.raises(TetradError, match="lower the learning rate") as caught:
        list(train(make_recipe(tmp_path, **LORA | {"train.steps": 9})))
    assert caught.value.code == "E7001" and caught.value.exit_code == 7
    folder = tmp_path / "zkr"
    assert json.loads((folder / "error.json").read_text())["code"] == "E7001"
    assert_all_files_finite(folder)
    point, _damaged = read_newest_point(folder / "resume")
    assert point and point.step == stops_at - 1


def test_weights_with_nan_are_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, current: list[int]
) -> None:
    """What only a bug or a broken machine could do: an update that makes weights NaN though its gradient is finite."""
    original = updates.Updates.after_update

    def after_update(self: updates.Updates) -> None:
        original(self)
        if current[0] == 3:
            updates.parameters_of(self.adapter)[0].data.fill_(NAN)

    monkeypatch.setattr(updates.Updates, "after_update", after_update)
    with pytest.raises(TetradError) as caught:
        list(train(make_recipe(tmp_path, **LORA | {"method.max_norm": 100.0})))
    assert caught.value.code == "E7002" and "lower learning rate" in caught.value.message
    assert sorted(path.name for path in (tmp_path / "zkr").glob("*.safetensors")) == [
        "zkr-step00000001.safetensors",
        "zkr-step00000002.safetensors",
    ]
    assert_all_files_finite(tmp_path / "zkr")


def test_after_any_error_the_run_is_saved_and_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LORA | {"train.steps": 4, "save.every": 2}
    whole = finish(train(make_recipe(tmp_path / "whole", **settings)))
    save_points_only_after(monkeypatch, [])
    original = Batches.get_update_batches
    for number, error in enumerate([KeyError("a key"), OSError(5, "Input/output error"), ValueError("a value")]):
        folder = tmp_path / str(number) / "zkr"
        with monkeypatch.context() as patch:

            def fail(self: Batches, number: int, accumulation: int = 1, error: Exception = error) -> list[Batch]:
                if number == 3:
                    raise error
                return original(self, number, accumulation)

            patch.setattr(Batches, "get_update_batches", fail)
            seen: list[Any] = []
            with pytest.raises(type(error)):
                for event in train(make_recipe(folder.parent, **settings)):
                    seen.append(event)
        assert isinstance(seen[-1], Saved) and seen[-1].step == 3
        assert type(error).__name__ in json.loads((folder / "error.json").read_text())["text"]
        finish(resume(folder))
        (folder / "zkr-step00000003.safetensors").unlink()  # of the error
        assert contents(folder) == contents(whole) and not (folder / "error.json").exists()
