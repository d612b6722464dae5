"""Every method with every optimizer and every way to train is resumed exactly: `pytest -m slow tests/run/resume`."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from test_exact import contents, crash_at, finish, leave, make_recipe, place, point_after_every_step

from tetrad.methods import METHODS
from tetrad.run.resume.resume import resume
from tetrad.run.train import train
from tetrad.settings.optimizers import OPTIMIZERS

__all__ = ["place", "point_after_every_step"]  # the fixtures
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "average": {"train.ema": 0.9},
    "accumulation": {"train.gradient_accumulation": 2},
    "fused backward": {"train.fused_backward": True},
    "class images": {"data.class_images.images": "class", "data.class_word": "cat"},
    "tags left out": {"data.captions.shuffle": True, "data.captions.tag_dropout": 0.3, "data.captions.dropout": 0.2},
    "schedule": {"train.scheduler": "cosine", "train.warmup_steps": 2, "loss.noise_offset": 0.05},
}
OWN: dict[str, dict[str, dict[str, Any]]] = {
    "lora": {
        "text encoder": {"method.text_encoder": True, "train.text_encoder_share": 0.5},
        "dropout": {"method.dropout": 0.3, "method.dora": True, "method.conv_rank": 2},
    },
    "dreambooth": {"text encoder": {"method.text_encoder": True, "train.text_encoder_share": 0.5}},
    "hypernetwork": {"dropout": {"method.dropout": [0.3], "method.structure": [1, 2, 1]}},
}
CASES = [
    pytest.param(method, optimizer, settings, id=f"{method}, {optimizer}, {way}")
    for method, optimizer in itertools.product(METHODS, OPTIMIZERS)
    for way, settings in (WAYS | OWN.get(method, {})).items()
]


@pytest.mark.slow
@pytest.mark.parametrize("method,optimizer,settings", CASES)
def test_it_is_resumed_exactly(method: str, optimizer: str, settings: dict[str, Any], tmp_path: Path) -> None:
    if optimizer == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    settings = {"method.kind": method, "train.optimizer": optimizer, "train.steps": 5} | settings
    whole = finish(train(make_recipe(tmp_path / "whole", **settings)))
    folder = crash_at(make_recipe(tmp_path / "broken", **settings), 3)
    leave(resume(folder), 4)
    assert contents(finish(resume(folder))) == contents(whole)
