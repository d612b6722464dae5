"""`tetrad plan`: what a training would do and need, with and without steps of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from short_runs import save_model_and_images

from tetrad.cli import plan
from tetrad.estimate.speed import DeviceSpeed
from tetrad.run import rehearsal


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tetrad.run.planned_run.measure_device_speed", lambda *given: DeviceSpeed(1e9, 1e9))
    monkeypatch.chdir(save_model_and_images(tmp_path, 4))
    return tmp_path


def print_plan(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    settings = "--model tiny.safetensors --trigger-word zkr --steps 40 --batch-size 2 --set data.resolution=64"
    plan.app(["lora", "images", *settings.split(), *options], standalone_mode=False)
    return capsys.readouterr().out


def run_plan(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(print_plan(capsys, *options, "--json"))
    return record


def test_it_measures_steps_and_a_preview_and_leaves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.iterdir())
    record = run_plan(capsys, "--set", "sample.every=20", "--set", "sample.steps=2")
    assert record["measured"] and record["steps"] == 40 and record["views_per_image"] == 20
    per_preview = 3 * len(record["prompts"])  # before the first step, after 20 and after 40
    expected = 40 * record["step_seconds"] + per_preview * record["preview_seconds"]
    assert record["preview_seconds"] > 0 and record["seconds"] == pytest.approx(expected)
    assert {path for path in sorted(folder.iterdir()) if path not in before} <= {folder / "cache"}
    assert [rung["settings"] for rung in record["to_save_memory"]][:2] == [[], ["train.gradient_checkpointing=true"]]


def test_it_stays_an_estimate_where_asked_and_where_class_images_are_missing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "train", None)
    estimated = run_plan(capsys, "--estimate")
    missing = run_plan(capsys, "--class-word", "dog", "--num-class-images", "3")
    assert not estimated["measured"] and not missing["measured"] and estimated["seconds"] > 0
    preserving = run_plan(capsys, "--estimate", "--set", "data.preserve.samples=2")
    assert preserving["memory_bytes"] > estimated["memory_bytes"] and preserving["seconds"] > estimated["seconds"]
    assert "in one process, estimated" in print_plan(capsys, "--estimate", "--processes", "2")
    assert not (folder / "runs").exists()


def test_the_estimate_has_the_previews_with_their_sampling_steps_and_guidance(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def estimate(*settings: str) -> float:
        options = [part for setting in settings for part in ("--set", f"sample.{setting}")]
        return float(run_plan(capsys, "--estimate", *options)["seconds"])

    without = estimate("every=-1")
    short, long = (estimate("every=20", f"steps={steps}") - without for steps in (1, 11))
    unguided = estimate("every=20", "steps=11", "cfg_scale=1") - without
    decoding = short - (long - short) / 10  # of all previews; the rest grows with the sampling steps
    assert 0 < decoding < short and unguided == pytest.approx((long - decoding) / 2 + decoding)
    once = estimate("every=40", "steps=11", "before_training=false") - without
    assert long == pytest.approx(3 * once)
    wide, square = (estimate("every=20", "steps=11", "width=128", f"height={side}") - without for side in (64, 128))
    assert square == pytest.approx(2 * wide)


def test_the_estimate_counts_predictions_of_the_model_before_training(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--estimate", "--set", "sample.every=-1")
    free = run_plan(capsys, *options)["seconds"]
    held = run_plan(capsys, *options, "--set", "data.unmasked_prior_weight=1")["seconds"]
    assert held == pytest.approx(1.3 * free)
