"""A run that is killed between a decision about memory and the end of its step remembers the decision."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_exact import contents, finish, make_recipe, place, point_after_every_step
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.models.sd import StableDiffusion
from tetrad.run.events import Note
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.resume.points import read_newest_point
from tetrad.run.resume.resume import resume
from tetrad.run.train import train
from tetrad.training.fused_adamw import FusedAdamW

__all__ = ["place", "point_after_every_step"]  # the fixtures
LORA: dict[str, Any] = {"method.kind": "lora", "train.steps": 4, "save.every": 0, "train.ema": 0.9}


def fail_once(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Memory runs out at this forward pass of a whole batch, and never again."""
    original, calls = StableDiffusion.predict, [0]

    def predict(self: StableDiffusion, z_t: Tensor, *arguments: Any) -> Tensor:
        calls[0] += torch.is_grad_enabled() and len(z_t) > 1
        if calls[0] == number:
            calls[0] += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, z_t, *arguments)

    monkeypatch.setattr(StableDiffusion, "predict", predict)


@pytest.mark.parametrize("number", [1, 2])
def test_a_run_killed_within_the_step_of_a_decision_is_resumed_exactly(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where that is the first step; and where the step before it has a point, which is written again."""
    with monkeypatch.context() as patch:
        fail_once(patch, number)
        whole = finish(train(make_recipe(tmp_path / "whole", **LORA)))
    plain = finish(train(make_recipe(tmp_path / "plain", **LORA)))
    with monkeypatch.context() as patch:
        fail_once(patch, number)
        events = train(make_recipe(tmp_path / "broken", **LORA))
        note = next(event for event in events if isinstance(event, Note) and event.code == "W6002")
        next(events)  # the point is saved
        events.close()  # type: ignore[attr-defined]
    folder = tmp_path / "broken" / "zkr"
    point, _damaged = read_newest_point(folder / "resume")
    assert point and point.step == note.message.values["step"] - 1
    assert contents(finish(resume(folder))) == contents(whole) != contents(plain)


def test_memory_that_is_short_of_the_optimizers_state_leaves_the_weights_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is created before the first update, so less memory is tried, and then the error is that of any other step."""
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: False)
    original = FusedAdamW.init_state

    def run_out(self: FusedAdamW, parameter: Tensor) -> Any:
        if len(self.state) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, parameter)  # type: ignore[arg-type]

    seen: list[Note] = []
    with monkeypatch.context() as patch:
        patch.setattr(FusedAdamW, "init_state", run_out)
        with pytest.raises(TetradError, match="E6001"):
            for event in train(make_recipe(tmp_path / "short", **LORA)):
                seen += [event] if isinstance(event, Note) and event.code == "W6002" else []
    assert seen and not (tmp_path / "short" / "zkr").exists()  # nothing was trained
