"""A resumed run compares itself with how it began: what would make another result stops it, the rest is said."""

import json
from pathlib import Path
from typing import Any

import pytest
from killing import contents, finish, make_recipe
from PIL import Image
from test_exact import crash_at, place, point_after_every_step  # noqa: F401 - fixtures

from tetrad.errors import TetradError
from tetrad.estimate.forecast import MemoryForecast
from tetrad.estimate.memory import MemoryOptions
from tetrad.run.events import Note, Trained
from tetrad.run.resume.identity import Changes, compare
from tetrad.run.resume.resume import resume
from tetrad.run.train import train


@pytest.fixture
def broken(place: Path, tmp_path: Path) -> Path:  # noqa: F811 - the fixture
    """The folder of a run that was killed after two steps, on images of its own."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(2):
        Image.effect_noise((64, 64), 50 + number).convert("RGB").save(images / f"{number}.png")
        (images / f"{number}.txt").write_text("zkr cat")
    return crash_at(make_recipe(tmp_path / "out", **{"data.images": str(images), "method.kind": "lora"}), 3)


def change_image(broken: Path) -> str:
    Image.effect_noise((64, 64), 90).convert("RGB").save(broken.parents[1] / "images" / "0.png")
    return "1 image has changed (0.png)"


def remove_image(broken: Path) -> str:
    (broken.parents[1] / "images" / "1.png").unlink()
    return "1 image is gone (1.png)"


def add_image(broken: Path) -> str:
    Image.effect_noise((64, 64), 91).convert("RGB").save(broken.parents[1] / "images" / "2.png")
    return "1 image is new (2.png)"


def change_caption(broken: Path) -> str:
    (broken.parents[1] / "images" / "1.txt").write_text("zkr dog")
    return "the caption of 1 image has changed (1.png)"


def change_setting(broken: Path) -> str:
    recipe = broken / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("seed = 0", "seed = 1"))
    return "train.seed was 0 and is now 1"


def kept_files(broken: Path) -> dict[str, bytes]:
    """All files of a run but the log of its attempts."""
    files = (path for path in broken.rglob("*") if path.is_file() and path.name not in ("events.jsonl", "error.json"))
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.parametrize("change", [change_image, remove_image, add_image, change_caption, change_setting])
def test_a_harmful_change_stops_the_run_until_it_is_accepted(change: Any, broken: Path) -> None:
    sentence = change(broken)
    before = kept_files(broken)
    with pytest.raises(TetradError) as caught:
        list(resume(broken))
    assert caught.value.code == "E5163" and sentence in str(caught.value) and "--accept-changes" in str(caught.value)
    assert kept_files(broken) == before
    events = list(resume(broken, accepts_changes=True))
    assert any(isinstance(event, Note) and event.code == "W5163" and sentence in str(event.message) for event in events)
    assert next(event.step for event in events if isinstance(event, Trained)) == 3


def identity_of(settings: dict[str, Any]) -> dict[str, Any]:
    return {"settings": settings, "images": {}, "shards": {}, "files": {}, "software": {}, "machine": {}}


@pytest.mark.parametrize("setting,is_harmful", [("train.quantize_base", True), ("train.sharding", False)])
def test_a_setting_is_harmful_where_it_changes_what_is_learned(setting: str, is_harmful: bool) -> None:
    changes = compare(identity_of({setting: "none"}), identity_of({setting: "nf4"}))
    assert [len(changes.harmful), len(changes.harmless)] == [is_harmful, not is_harmful]


def test_a_setting_that_an_earlier_version_did_not_have_had_its_default() -> None:
    before = identity_of({"train.steps": 4})
    assert compare(before, identity_of({"train.steps": 4, "train.quantize_base": "none"})) == Changes()
    assert len(compare(before, identity_of({"train.steps": 4, "train.quantize_base": "nf4"})).harmful) == 1


def test_another_version_is_said_and_does_not_stop_the_run(broken: Path) -> None:
    path = broken / "resume" / "identity.json"
    identity = json.loads(path.read_text())
    identity["software"]["torch"] = "1.0"
    path.write_text(json.dumps(identity))
    events = list(resume(broken))
    notes = [str(event.message) for event in events if isinstance(event, Note) and event.code == "W5163"]
    assert len(notes) == 1 and "torch was 1.0 and is now" in notes[0]


def test_less_memory_changes_nothing(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """The resumed run computes as many images at once as before, which its resume point says."""
    settings = {"method.kind": "lora", "train.gradient_accumulation": 2}
    whole = finish(train(make_recipe(tmp_path / "whole", **settings)))
    folder = crash_at(make_recipe(tmp_path / "broken", **settings), 3)
    short = MemoryForecast(2, 1, 1, (MemoryOptions(), 1))
    monkeypatch.setattr("tetrad.run.resolve.forecast_memory", lambda *arguments: short)
    events = list(resume(folder))
    assert contents(folder) == contents(whole)
    codes = [event.code for event in events if isinstance(event, Note)]
    assert "W6001" in codes and "W5163" not in codes


def test_a_run_without_a_point_starts_again_in_its_own_folder(broken: Path) -> None:
    for point in (broken / "resume").glob("step-*"):
        (point / "manifest.json").unlink()
    events = list(resume(broken))
    assert [event.code for event in events if isinstance(event, Note) and event.code] == ["W5164", "W5164"]
    assert [event.step for event in events if isinstance(event, Trained)] == [1, 2, 3, 4, 5, 6]


def test_a_complete_run_and_a_folder_that_is_no_run_are_refused(broken: Path, tmp_path: Path) -> None:
    finish(resume(broken))
    for folder, code in ((broken, "E5164"), (tmp_path, "E5162")):
        with pytest.raises(TetradError) as caught:
            list(resume(folder))
        assert caught.value.code == code
