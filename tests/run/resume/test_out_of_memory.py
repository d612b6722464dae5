"""Where memory runs out, a run uses less of it with the same result, and resumes exactly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_exact import contents, crash_at, finish, make_recipe, place, point_after_every_step
from test_faults import LORA, current, learned, save_points_only_after, train_and_watch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats.weight_files import read_weight_file
from tetrad.models.sd import StableDiffusion
from tetrad.run import previews
from tetrad.run.resume.points import read_newest_point
from tetrad.run.resume.resume import resume
from tetrad.run.train import train
from tetrad.training import loop

__all__ = ["current", "place", "point_after_every_step"]  # the fixtures


def run_out_of_memory(monkeypatch: pytest.MonkeyPatch, is_too_much: Callable[[Any, Tensor], bool]) -> None:
    """Training's forward pass fails where the latents are too much for the model."""
    original = StableDiffusion.predict

    def predict(self: StableDiffusion, z_t: Tensor, *arguments: Any) -> Tensor:
        if torch.is_grad_enabled() and is_too_much(self, z_t):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, z_t, *arguments)

    monkeypatch.setattr(StableDiffusion, "predict", predict)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_micro_batch_is_halved_where_memory_runs_out(
    accumulation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, current: list[int]
) -> None:
    """Memory runs out once in each of two runs, and not again in the resumed one, which remembers it."""
    settings = LORA | {"train.gradient_accumulation": accumulation, "train.steps": 6}
    plain = finish(train(make_recipe(tmp_path / "plain", **settings)))
    errors_left = [1]

    def is_too_much(model: Any, z_t: Tensor) -> bool:
        fails = current[0] >= 3 and len(z_t) > 1 and errors_left[0] > 0
        errors_left[0] -= fails
        return fails

    run_out_of_memory(monkeypatch, is_too_much)
    whole, notes = train_and_watch(make_recipe(tmp_path / "whole", **settings))
    values = notes["W6002"].message.values
    assert (values["size"], values["count"]) == (2, 1) and values["step"] in (
        3,
        4,
    )  # a batch of one shape is of 1 image
    assert learned(whole, 2) == learned(plain, 2)
    tensors = [read_weight_file(next(run.glob("*00004.*"))).tensors for run in (plain, whole)]
    for name, tensor in tensors[0].items():
        # AdamW divides by the gradient's size, so rounding of tiny gradients becomes visible; a step is 1e-2.
        torch.testing.assert_close(tensors[1][name], tensor, atol=2e-4, rtol=0)
    errors_left[0] = 1
    folder = crash_at(make_recipe(tmp_path / "broken", **settings), 5)
    assert not errors_left[0]
    assert contents(finish(resume(folder))) == contents(whole) != contents(plain)


@pytest.mark.parametrize("fused", [False, True])
def test_then_gradient_checkpointing_is_turned_on(
    fused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, current: list[int]
) -> None:
    settings = LORA | {"train.steps": 5, "train.fused_backward": fused}
    checkpointing: dict[int, bool] = {}

    def is_too_much(model: Any, z_t: Tensor) -> bool:
        checkpointing[current[0]] = model.unet.is_gradient_checkpointing
        return current[0] == 3 and not model.unet.is_gradient_checkpointing

    run_out_of_memory(monkeypatch, is_too_much)
    whole, notes = train_and_watch(make_recipe(tmp_path / "whole", **settings))
    assert "gradient checkpointing" in str(notes["W6002"].message)
    folder = crash_at(make_recipe(tmp_path / "broken", **settings), 4)
    checkpointing.clear()
    assert contents(finish(resume(folder))) == contents(whole)
    assert checkpointing == {4: True, 5: True}


def test_without_anything_left_to_save_the_run_stops_with_what_it_has_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, current: list[int]
) -> None:
    run_out_of_memory(monkeypatch, lambda model, z_t: current[0] >= 3)
    with pytest.raises(TetradError) as caught:
        list(train(make_recipe(tmp_path, **LORA)))
    assert caught.value.code == "E6001"
    point, _damaged = read_newest_point(tmp_path / "zkr" / "resume")
    assert point and point.step == 2


def test_memory_that_runs_out_within_an_update_is_not_saved_as_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, current: list[int]
) -> None:
    """A fused backward has updated some of the weights by then, so only the point before is of use."""
    settings = LORA | {"train.fused_backward": True, "train.steps": 5, "save.every": 0}
    save_points_only_after(monkeypatch, [2])
    whole = finish(train(make_recipe(tmp_path / "whole", **settings)))
    original = loop.FusedBackwardUpdate.update_parameter
    with monkeypatch.context() as patch:

        def update_parameter(self: Any, group: Any, parameter: Any) -> None:
            if current[0] == 4 and self.has_begun:
                raise torch.OutOfMemoryError("CUDA out of memory")
            original(self, group, parameter)

        patch.setattr(loop.FusedBackwardUpdate, "update_parameter", update_parameter)
        with pytest.raises(TetradError, match="not enough memory"):
            list(train(make_recipe(tmp_path / "broken", **settings)))
    assert contents(finish(resume(tmp_path / "broken" / "zkr"))) == contents(whole)


def test_previews_that_there_is_not_enough_memory_for_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **keywords: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    monkeypatch.setattr(previews, "generate_images", fail)
    settings = LORA | {"train.steps": 3, "train.ema": 0.9}
    previewed = settings | {"sample.every": 2, "sample.prompts": ["a cat"]}
    folder, notes = train_and_watch(make_recipe(tmp_path / "previewed", **previewed))
    assert notes["W6003"].message.values == {"step": 3}
    assert learned(folder, 2) == learned(finish(train(make_recipe(tmp_path / "plain", **settings))), 2)
