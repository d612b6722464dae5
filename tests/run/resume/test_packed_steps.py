"""A run packs convolutions in its steps if it has begun so, whatever is measured when it is resumed."""

from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from test_exact import contents, crash_at, finish, make_recipe, place, point_after_every_step
from test_faults import LORA

from tetrad.models import packed_convolutions
from tetrad.models.packed_convolutions import can_pack
from tetrad.run import resolve
from tetrad.run.resume.resume import resume
from tetrad.run.train import train

__all__ = ["place", "point_after_every_step"]  # the fixtures


@pytest.mark.skipif(not can_pack(torch.float32), reason="PyTorch cannot pack them here")
def test_a_resumed_run_packs_convolutions_as_it_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Mock(wraps=packed_convolutions._convolve)
    monkeypatch.setattr(packed_convolutions, "_convolve", calls)

    def measure(packs: bool) -> None:
        calls.reset_mock()
        monkeypatch.setattr(resolve, "decides_to_pack", lambda *arguments: packs)

    settings = LORA | {"train.steps": 4}
    measure(False)
    finish(train(make_recipe(tmp_path / "plain", **settings)))
    assert not calls.called
    measure(True)
    whole = finish(train(make_recipe(tmp_path / "whole", **settings)))
    assert calls.called and "packs_convolutions = true" in (whole / "plan.toml").read_text("utf-8")
    folder = crash_at(make_recipe(tmp_path / "broken", **settings), 3)
    measure(False)
    resumed = finish(resume(folder))
    assert calls.called and contents(resumed) == contents(whole)
