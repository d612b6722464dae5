"""`tetrad plan`: what a training would do and need, with and without steps of it."""

import json
import tarfile
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


def print_plan(capsys: pytest.CaptureFixture[str], *options: str, images: str = "images", method: str = "lora") -> str:
    settings = "--model tiny.safetensors --trigger-word zkr --steps 40 --batch-size 2 --set data.resolution=64"
    plan.app([method, images, *settings.split(), *options], standalone_mode=False)
    return capsys.readouterr().out


def run_plan(capsys: pytest.CaptureFixture[str], *options: str, **given: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(print_plan(capsys, *options, "--json", **given))
    return record


@pytest.fixture
def shards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six shards of two images each, of which a plan looks at two."""
    monkeypatch.setattr("tetrad.run.dataset_sample.FEW_IMAGES", 3)
    monkeypatch.setattr("tetrad.run.dataset_sample._SAMPLE", 2)
    for number in range(6):
        with tarfile.open(folder / f"{number}.tar", "w") as archive:
            for image in sorted((folder / "images").iterdir())[:2]:
                archive.add(image, image.name)
    return folder


@pytest.mark.parametrize("images", ["{0..5}.tar", "images"])
def test_a_large_data_set_is_planned_from_some_of_its_images(
    shards: Path, images: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shards)
    record = run_plan(capsys, images=images)
    total = 12 if images != "images" else 4
    decoded = list((shards / "cache" / "pictures").glob("*")) if images == "images" else []
    assert record["measured"] and record["plan"]["train"]["images"] == total and len(decoded) < total
    assert record["preparation"]["decoding_seconds"] > 0 and record["preparation"]["encoding_seconds"] > 0
    assert record["preparation"]["memory_bytes"] > 1000 * total
    assert any(note["values"].get("sample") == 2 and note["values"]["total"] == total for note in record["notes"])
    printed = print_plan(capsys, "--estimate", images=images)
    assert "to encode the images once" in printed and "for the list of the images" in printed


def test_it_measures_steps_and_a_preview_and_leaves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.iterdir())
    record = run_plan(capsys, "--set", "sample.every=20", "--set", "sample.steps=2")
    assert record["measured"] and record["steps"] == 40 and record["views_per_image"] == 20
    per_preview = 3 * len(record["prompts"])  # before the first step, after 20 and after 40
    expected = 40 * record["step_seconds"] + per_preview * record["preview_seconds"]
    assert record["preview_seconds"] > 0 and record["seconds"] == pytest.approx(expected)
    assert {path for path in sorted(folder.iterdir()) if path not in before} <= {folder / "cache"}
    assert [rung["settings"] for rung in record["to_save_memory"]][:2] == [[], ["train.gradient_checkpointing=true"]]


def test_previews_and_files_by_minutes_are_counted_with_the_time_of_a_step(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "_measure", lambda events: rehearsal.Rehearsal(3.0, 1.0, 10**6))
    minutes = ("--set", "sample.every_minutes=0.5", "--set", "save.every_minutes=1")
    record = run_plan(capsys, *minutes)  # 40 steps of 3 s
    assert (record["previews"], record["files"]) == (2 + 3, 1 + 1)
    assert record["seconds"] == 40 * 3 + (2 + 3) * len(record["prompts"])
    also = run_plan(capsys, *minutes, "--set", "save.every=11")  # at 11, 22 and 33, and never a minute after these
    assert also["files"] == 1 + 3
    fewer = run_plan(capsys, *minutes[:2])
    assert record["disk_bytes"] - fewer["disk_bytes"] == pytest.approx(record["file_bytes"], rel=0.1)
    assert "previews 5 times" in print_plan(capsys, *minutes)
    training = run_plan(capsys, "--estimate", "--set", "sample.every=-1")["seconds"]
    often = f"sample.every_minutes={training / 60 / 4.5}"
    assert run_plan(capsys, "--estimate", "--set", often)["previews"] == 2 + 4


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


def test_every_figure_of_a_plan_has_the_quantized_base(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, quantized = (
        run_plan(capsys, "--estimate", "--set", f"train.quantize_base={kind}") for kind in ("none", "nf4")
    )
    saved = plain["memory_bytes"] - quantized["memory_bytes"]
    assert saved > 0
    offers = zip(plain["to_save_memory"], quantized["to_save_memory"], strict=True)
    assert all(one["memory_bytes"] - other["memory_bytes"] == saved for one, other in offers)


def test_a_plan_counts_only_a_part_where_processes_divide_what_is_trained(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--estimate", "--processes", "2", "--allow-slower")
    whole, part = (
        run_plan(capsys, *options, "--set", f"train.sharding={kind}", method="dreambooth") for kind in ("none", "full")
    )
    assert part["memory_bytes"] < whole["memory_bytes"]


def test_the_offer_of_weights_in_bfloat16_is_what_a_plan_with_them_needs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def plan_dreambooth(*settings: str) -> dict[str, Any]:
        options = [part for setting in settings for part in ("--set", setting)]
        common = "--model tiny.safetensors --trigger-word zkr --steps 4 --set data.resolution=64 --json --estimate"
        plan.app(["dreambooth", "images", *common.split(), *options], standalone_mode=False)
        record: dict[str, Any] = json.loads(capsys.readouterr().out)
        return record

    offer = plan_dreambooth("train.precision=bf16")["to_save_memory"][-1]
    assert offer["settings"][-1] == "method.bf16_weights=true"
    taken = plan_dreambooth("train.precision=bf16", "train.max_grad_norm=0", *offer["settings"])
    assert taken["memory_bytes"] == offer["memory_bytes"]
    for others in (["train.precision=bf16", "train.ema=0.9"], ["train.precision=fp32"]):
        assert "method.bf16_weights=true" not in plan_dreambooth(*others)["to_save_memory"][-1]["settings"]
