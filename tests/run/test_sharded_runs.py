"""A DreamBooth run whose processes divide weights, gradients and optimizer state: the files of a run in one process."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from child_processes import use_forks
from short_runs import QUICK, make_recipe, save_model_and_images

from tetrad.errors import TetradError
from tetrad.formats.weight_files import read_weight_file
from tetrad.run.events import Finished, Note, Trained
from tetrad.run.resume.points import list_points, read_point
from tetrad.run.resume.resume import resume
from tetrad.run.train import train
from tetrad.settings import Recipe

FAST = QUICK | {
    "method.kind": "dreambooth",
    "train.steps": 4,
    "train.learning_rate": 1e-5,
    "train.batch_size": 2,
    "train.gradient_accumulation": 2,
    "train.max_grad_norm": 0.01,
    "train.ema": 0.9,
    "train.sharding": "full",
    "train.allow_slower": True,
    "sample.every": 4,
    "sample.steps": 1,
    "sample.before_training": False,
    "judge.scores": "on",
    "save.precision": "fp32",
    "save.keep_resume": True,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model_and_images(tmp_path_factory.mktemp("place"), 3)


@pytest.fixture(autouse=True)
def working_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("TETRAD_CACHE", str(place / "cache"))


def recipe(out: Path, **changes: Any) -> Recipe:
    return make_recipe(out, FAST | {key.replace("__", "."): value for key, value in changes.items()})


def test_x(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children = use_forks(monkeypatch)
    t=time.time()
    for event in train(recipe(tmp_path / "shared", train__processes=2)):
        print(event)
    print(time.time()-t)
    for event in train(recipe(tmp_path / "alone")):
        print(event)
    a,b=[read_weight_file(tmp_path/n/"zkr"/"zkr.safetensors").tensors for n in ("shared","alone")]
    print(max((a[k].float()-b[k].float()).abs().max() for k in b), len(a), len(b))
    assert 0
