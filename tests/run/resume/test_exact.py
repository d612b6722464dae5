"""A run that was interrupted and resumed ends with the same files, byte for byte, as one that never stopped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from killing import build_place, contents, finish, make_recipe

from tetrad.judging import Counts
from tetrad.run.events import Trained
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.resume.resume import resume
from tetrad.run.train import train
from tetrad.settings import Recipe

CASES: dict[str, dict[str, Any]] = {
    "dreambooth": {"method.kind": "dreambooth"},
    "dreambooth in bfloat16": {
        "method.kind": "dreambooth",
        "method.bf16_weights": True,
        "train.fused_backward": True,
        "train.optimizer": "adafactor",
    },
    "textual-inversion": {"method.kind": "textual-inversion"},
    "hypernetwork": {"method.kind": "hypernetwork", "method.dropout": [0.3], "method.structure": [1, 2, 1]},
    "lora with an average": {"method.kind": "lora", "train.ema": 0.9},
    "lora with dropout, adafactor and accumulation": {
        "method.kind": "lora",
        "method.dropout": 0.3,
        "train.optimizer": "adafactor",
        "train.gradient_accumulation": 2,
    },
    "lora with prodigy": {"method.kind": "lora", "train.optimizer": "prodigy", "train.scheduler": "cosine"},
    "lora with a schedule-free optimizer, an average and a limit": {
        "method.kind": "lora",
        "train.optimizer": "prodigyplusschedulefree",
        "train.ema": 0.9,
        "method.max_norm": 0.01,
    },
    "lora with a schedule-free optimizer and block rates": {
        "method.kind": "lora",
        "train.optimizer": "adamwschedulefree",
        "train.block_rates": "MID=0.5, IN=0",
    },
    "lora whose text encoder stops early": {
        "method.kind": "lora",
        "method.text_encoder": True,
        "train.text_encoder_share": 0.4,
    },
    "dora with class images and shuffled tags": {
        "method.kind": "lora",
        "method.dora": True,
        "data.class_images.images": "class",
        "data.class_word": "cat",
        "data.captions.shuffle": True,
        "data.captions.tag_dropout": 0.3,
    },
    "dreambooth with an average, fused backward and no cached latents": {
        "method.kind": "dreambooth",
        "train.ema": 0.9,
        "train.fused_backward": True,
        "data.flip": True,
    },
    "lora that is judged, with an average and an image held out": {
        "method.kind": "lora",
        "train.ema": 0.9,
        "judge.scores": "on",
        "judge.held_out": 1,
        "judge.images": "previews",
        "sample.every": 3,
        "sample.steps": 1,
    },
    "locon with a text encoder and a schedule": {
        "method.kind": "lora",
        "method.conv_rank": 2,
        "method.text_encoder": True,
        "train.scheduler": "cosine",
        "train.warmup_steps": 2,
    },
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, images of two shapes with captions, and class images."""
    path = tmp_path_factory.mktemp("exact")
    build_place(path)
    return path


@pytest.fixture(autouse=True)
def point_after_every_step(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(place / "cache"))
    monkeypatch.chdir(place)
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: steps_left > 0)
    # However long they take.
    monkeypatch.setattr("tetrad.run.image_scoring.choose_counts", lambda *_given, **_others: Counts(4, 4, 1))


def crash_at(recipe: Recipe, step: int) -> Path:
    """Begin a run and leave it at a step, without a word, as a killed process does; returns its folder."""
    leave(train(recipe), step)
    return Path(recipe.save.out) / "zkr"


def leave(events: Iterator[Any], step: int) -> None:
    for event in events:
        if isinstance(event, Trained) and event.step == step:
            break
    events.close()  # type: ignore[attr-defined]


WIDE = {
    "dreambooth",
    "lora with an average",
    "lora with prodigy",
    "lora with a schedule-free optimizer and block rates",
    "locon with a text encoder and a schedule",
}


@pytest.mark.parametrize("case", [pytest.param(case, marks=pytest.mark.wide if case in WIDE else ()) for case in CASES])
def test_a_resumed_run_ends_with_the_same_bytes(case: str, place: Path, tmp_path: Path) -> None:
    whole = finish(train(make_recipe(tmp_path / "whole", **CASES[case])))
    folder = crash_at(make_recipe(tmp_path / "broken", **CASES[case]), 3)
    leave(resume(folder), 4)
    assert contents(finish(resume(folder))) == contents(whole)
    assert not (folder / "resume").exists()


def test_a_diffusers_folder_from_before_the_crash_is_written_again(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no resume point, so the run begins again and comes by the same step."""
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: False)
    settings = {"method.kind": "dreambooth", "save.format": "diffusers"}
    folder = crash_at(make_recipe(tmp_path, **settings), 4)
    assert (folder / "zkr-step00000003").is_dir()
    assert finish(resume(folder)) == folder
    assert (folder / "zkr").is_dir() and (folder / "zkr-step00000003").is_dir()
