"""A run is measured while it trains, without a change of what is trained, and ends when nothing more is learned."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plans
import pytest
import torch
from short_runs import QUICK, make_recipe, save_model_and_images

from tetrad.formats.weight_files import read_weight_file
from tetrad.judging import CheckpointScores, Counts, read_scores
from tetrad.locales import Message
from tetrad.run.events import Finished, Judged, Note, Scored, Trained
from tetrad.run.resolve_judge import choose_held_out
from tetrad.run.time_budget import TimeBudget, choose_counts
from tetrad.run.train import train
from tetrad.run.words import describe_scores

RUN: dict[str, Any] = QUICK | {
    "train.steps": 4,
    "train.batch_size": 1,
    "train.learning_rate": "1e-2",
    "save.every": 2,
    "sample.every": -1,
}
METHODS = ("lora", "textual-inversion", "hypernetwork", "dreambooth")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model_and_images(tmp_path_factory.mktemp("judged"), image_count=3)


def run(place: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> list[Any]:
    monkeypatch.chdir(place)
    monkeypatch.setenv("TETRAD_CACHE", str(place / "cache"))
    return list(train(make_recipe(out, RUN | {key.replace("__", "."): value for key, value in settings.items()})))


@pytest.mark.parametrize("method", METHODS)
def test_every_file_is_measured_and_nothing_else_changes(
    method: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"method__kind": method, "judge__held_out": 0}
    judged = run(place, tmp_path / "judged", monkeypatch, judge__scores="on", **settings)
    plain = run(place, tmp_path / "plain", monkeypatch, judge__scores="off", **settings)
    assert [each for each in judged if isinstance(each, Trained)] == [
        each for each in plain if isinstance(each, Trained)
    ]
    ends = [events[-1] for events in (judged, plain)]
    tensors, others = (read_weight_file(end.path).tensors for end in ends)
    assert all(torch.equal(tensors[name], others[name]) for name in others)
    rows, problems = read_scores(ends[0].folder)
    assert not problems
    files = [path.name for path in sorted(ends[0].folder.glob("zkr*"))]
    assert [(row.step, row.file) for row in rows if row.file] == [(2, files[0]), (4, files[1])]
    assert rows[0].step == 0 and rows[0].scores["drift"].value == 0
    assert all({"training_loss", "drift"} == set(row.scores) for row in rows)
    # An embedding changes nothing that a caption without its word says.
    assert (rows[-1].scores["drift"].value > 0) == (method != "textual-inversion")
    assert rows[-1].scores["training_loss"].value != rows[0].scores["training_loss"].value
    assert any(isinstance(each, Judged) for each in judged) and not any(isinstance(each, Judged) for each in plain)


@pytest.mark.parametrize("method", METHODS)
def test_images_are_scored_at_previews_and_at_the_end_beside_the_base_model(
    method: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TimeBudget, "count_affordable", lambda self, is_end: 9 if is_end else 18 + 3)
    settings = {"method__kind": method, "sample__every": 2, "sample__steps": 1, "sample__before_training": False}
    scored = run(place, tmp_path / "scored", monkeypatch, judge__images="previews", judge__held_out=0, **settings)
    plain = run(place, tmp_path / "plain", monkeypatch, **settings)
    tensors, others = (read_weight_file(events[-1].path).tensors for events in (scored, plain))
    assert all(torch.equal(tensors[name], others[name]) for name in others)  # images change nothing that is trained
    folder = scored[-1].folder
    rows = [row for row in read_scores(folder)[0] if "kept" in row.scores]
    files = [path.name for path in sorted(folder.glob("zkr*"))]
    assert [(row.step, row.file, row.strength) for row in rows] == [(0, "", 0), (2, files[0], 1), (4, files[1], 1)]
    assert rows[0].scores["leak"].value == 0 and all(
        {"likeness", "obedience", "sanity"} <= set(row.scores) for row in rows
    )
    leaks = [row.scores["leak"].value for row in rows[1:]]
    assert all(leak == 0 for leak in leaks) if method == "textual-inversion" else all(leak > 0 for leak in leaks)
    events = [each for each in scored if isinstance(each, Scored)]
    assert [(each.step, each.images) for each in events] == [(2, 9), (4, 9)]
    assert "base model" in describe_scores(events[0].step, events[0].images, events[0].scores, events[0].base)


def test_a_short_run_says_that_its_images_are_not_scored(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = run(place, tmp_path, monkeypatch, judge__images="end", judge__held_out=0)
    notes = [each for each in events if isinstance(each, Note) and "is not scored by images" in str(each.message)]
    assert len(notes) == 1 and not any(isinstance(each, Scored) for each in events)


def test_images_take_at_most_a_quarter_of_the_time_of_the_steps_and_half_of_it_before_the_end() -> None:
    budget = TimeBudget(predictions=34, samples=4)
    assert budget.count_affordable(is_end=True) == 0
    for _step in range(100):
        budget.add_steps(1, 1.0)
    assert budget.count_affordable(is_end=True) == int(25 / (1.5 * 34 / 12)) == 5
    assert budget.count_affordable(is_end=False) == 2 and budget.count_as_images(35) == 3
    budget.prediction_seconds = 0.01  # as previews took
    assert budget.count_affordable(is_end=True) == int(25 / (1.5 * 0.34))
    budget.images, budget.image_seconds, budget.base = 10, 5.0, Counts(4, 4, 1)
    assert (budget.count_affordable(is_end=False), budget.count_affordable(is_end=True)) == (15, 40)
    other = TimeBudget(predictions=34, samples=4)
    other.restore(budget.as_values())
    assert other == budget
    budget.note_base(Counts(2, 6, 1))
    assert budget.base == Counts(4, 6, 1)
    budget.image_seconds = 30.0
    assert budget.count_affordable(is_end=True) == 0


def test_as_many_images_are_generated_as_there_is_time_for() -> None:
    none, four = Counts(0, 0), Counts(4, 4, 1)
    assert choose_counts(17, none, has_sanity=True, is_end=False) is None
    assert choose_counts(18, none, has_sanity=True, is_end=False) == four
    assert choose_counts(9, four, has_sanity=True, is_end=False) == four  # the base model's are there
    assert choose_counts(1000, none, has_sanity=True, is_end=False) == Counts(12, 12, 4)
    assert choose_counts(1000, none, has_sanity=False, is_end=True) == Counts(12, 64)
    assert choose_counts(60, none, has_sanity=False, is_end=True) == Counts(12, 18)


def test_a_held_out_image_is_not_trained_on(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = run(place, tmp_path, monkeypatch, judge__scores="on", judge__held_out=1)
    folder = events[-1].folder
    assert all("held_out_loss" in row.scores for row in read_scores(folder)[0])
    identity = (folder / "plan.toml").read_text("utf-8")
    assert "images = 2\n" in identity
    assert any(isinstance(each, Note) and "of 3 images is held out" in str(each.message) for each in events)


def test_images_that_are_held_out_are_always_the_same_and_never_copies_of_others() -> None:
    photos = plans.photos([f"a zkr {number}" for number in range(12)])
    thumbnails = [np.random.default_rng(number).bytes(192) for number in range(12)]
    thumbnails[5] = thumbnails[4]
    photos = [
        replace(photo, info=replace(photo.info, thumbnail=thumbnail))
        for photo, thumbnail in zip(photos, thumbnails, strict=True)
    ]
    chosen = choose_held_out(photos, 12, seed=0)
    assert chosen == choose_held_out(photos[::-1], 12, seed=0) and len(chosen) == 6
    assert not {"4", "5"} & set(choose_held_out(photos, 12, seed=1)) and choose_held_out(photos, 12, seed=1) != chosen


def test_a_run_ends_early_and_keeps_the_best_file(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here after its sixth measurement; the files but the newest two and the best are removed."""

    def end_at_six(rows: list[CheckpointScores]) -> Message | None:
        return Message("enough") if len(rows) >= 7 else None

    monkeypatch.setattr("tetrad.run.judge.explain_end", end_at_six)
    monkeypatch.setattr("tetrad.run.judge.RunJudge.find_best", lambda self: "zkr-step00000002.safetensors")
    events = run(place, tmp_path, monkeypatch, judge__stop="auto", train__steps=16, save__every=0)
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.complete and finished.steps == 6
    assert [path.name for path in sorted(finished.folder.glob("zkr*"))] == [
        *("zkr-step00000002.safetensors", "zkr-step00000005.safetensors", "zkr-step00000006.safetensors"),
        "zkr.safetensors",
    ]
    records = [json.loads(line) for line in (finished.folder / "events.jsonl").read_text("utf-8").splitlines()]
    assert [each["word"] for each in records if each["event"] == "judged"]


def test_a_run_that_is_short_of_memory_goes_on_without_scores(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("tetrad.judging.measure.DriftProbe.measure", fail)
    events = run(place, tmp_path, monkeypatch, judge__scores="on")
    assert isinstance(events[-1], Finished) and events[-1].complete
    assert [each.code for each in events if isinstance(each, Note) and each.code == "W6004"] == ["W6004"]
    assert not (events[-1].folder / "scores.jsonl").exists()
