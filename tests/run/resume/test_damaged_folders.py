"""A run's folder that was edited, damaged, mixed up or made to do harm: each is one sentence, or does not matter."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_exact import contents, crash_at, finish, make_recipe, place, point_after_every_step

from tetrad.errors import TetradError
from tetrad.run.events import Note
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.resume.resume import resume
from tetrad.run.status import list_runs, read_log, read_status
from tetrad.run.train import train

__all__ = ["place", "point_after_every_step"]  # the fixtures
LORA: dict[str, Any] = {"method.kind": "lora", "method.rank": 2, "train.steps": 5, "save.every": 0}


@pytest.fixture(scope="module")
def runs(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in its fourth step, and beside it one that was not, in `whole`."""
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("TETRAD_CACHE", str(place / "cache"))
        patch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: steps_left > 0)
        finish(train(make_recipe(out / "whole", **LORA)))
        crash_at(make_recipe(out / "broken", **LORA), 4)
    return out


@pytest.fixture
def broken(runs: Path, tmp_path: Path) -> Path:
    """A copy of the killed run, in a folder of another name, as on another computer."""
    return Path(shutil.copytree(runs / "broken" / "zkr", tmp_path / "复制 的 \U0001f431 run"))


def append(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes((folder / name).read_bytes() + content)


def swap_points(folder: Path) -> None:
    older, newer, between = (folder / "resume" / name for name in ("step-00000002", "step-00000003", "between"))
    older.rename(between)
    newer.rename(older)
    between.rename(newer)


def move_resume(folder: Path) -> None:
    (folder / "resume").rename(folder.parent / "another disk")
    (folder / "resume").symlink_to(folder.parent / "another disk")


def edit(folder: Path, name: str, before: str, after: str) -> None:
    text = (folder / name).read_text("utf-8")
    assert before in text
    (folder / name).write_text(text.replace(before, after), "utf-8")


HARMLESS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda folder: None,
    "bytes that are no text at the end of the losses": lambda folder: append(folder, "metrics.jsonl", b"\xff\x00{\n"),
    "a step that is no number": lambda folder: append(folder, "metrics.jsonl", b'{"step": "x", "steps": null}\n'),
    "points whose names were exchanged": swap_points,
    "points on another disk, behind a link": move_resume,
    "a file in the place of a point": lambda folder: (folder / "resume" / "step-00000009").touch(),
    "no samples": lambda folder: shutil.rmtree(folder / "samples"),
    "a file in the place of control": lambda folder: (folder / "control").touch(),
    "a folder in the place of the lock": lambda folder: (folder / "lock").mkdir(),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_does_not_matter_changes_no_byte(case: str, broken: Path, runs: Path) -> None:
    HARMLESS[case](broken)
    assert contents(finish(resume(broken))) == contents(runs / "whole" / "zkr")


@pytest.mark.parametrize("content", [None, "", "{}", '{"settings": 5, "images": [1], "files": 3}'])
def test_an_identity_that_is_lost_is_said(content: str | None, broken: Path, runs: Path) -> None:
    path = broken / "resume" / "identity.json"
    path.unlink() if content is None else path.write_text(content)
    events = list(resume(broken))
    notes = [str(event.message) for event in events if isinstance(event, Note) and event.code == "W5163"]
    assert len(notes) == 1 and "identity.json is missing or damaged" in notes[0]
    assert contents(broken) == contents(runs / "whole" / "zkr")


@pytest.mark.parametrize("change", [{"name": "../../evil"}, {"name": 5}, {"started": "x"}, {"another": 1}], ids=str)
def test_a_start_record_that_leads_elsewhere_is_refused(change: dict[str, Any], broken: Path) -> None:
    path = broken / "resume" / "start.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(TetradError, match=r"E5162.*start\.json"):
        list(resume(broken))
    assert not list(broken.parent.rglob("evil*"))


def test_a_point_of_another_run_is_one_sentence_and_undoing_the_change_helps(broken: Path, runs: Path) -> None:
    edit(broken, "recipe.toml", "rank = 2", "rank = 4")
    with pytest.raises(TetradError, match="E5163"):
        list(resume(broken))
    with pytest.raises(TetradError, match=r"E5167.*step 3.*does not fit"):
        list(resume(broken, accepts_changes=True))
    edit(broken, "recipe.toml", "rank = 4", "rank = 2")
    assert contents(finish(resume(broken))) == contents(runs / "whole" / "zkr")


def test_fewer_steps_than_are_trained_are_refused_even_if_changes_are_accepted(broken: Path) -> None:
    edit(broken, "recipe.toml", "steps = 5", "steps = 2")
    with pytest.raises(TetradError, match=r"E5163.*3 steps already"):
        list(resume(broken, accepts_changes=True))
    assert not list(broken.glob("*.safetensors"))


STRANGE = {
    "metrics.jsonl": '{"event": "trained", "step": "x", "steps": null}\n',
    "plan.toml": "train = 3\nmethod = 4\n",
    "recipe.toml": "save = 3\nmethod = 4\n",
    "events.jsonl": '{"event": "note", "text": "\ud800"}\n',
    "error.json": '{"text": {"a": 1}}',
}
BEATS: list[dict[str, Any]] = [
    {"pid": "x"},
    {"pid": -1},
    {"pid": 10**18},
    {"process_started": "y"},
    {"host": 5},
    {"time": "z"},
    {"time": None},
]


@pytest.mark.parametrize("name", STRANGE)
def test_values_of_the_wrong_kind_do_not_stop_the_list(name: str, broken: Path) -> None:
    (broken / name).write_bytes(STRANGE[name].encode("utf-8", "surrogatepass"))
    assert [status.state for status in list_runs(broken.parent)] == [
        "failed" if name == "error.json" else "interrupted"
    ]
    assert isinstance(list(read_log(broken / "events.jsonl")), list)


@pytest.mark.parametrize("change", BEATS, ids=str)
def test_a_heartbeat_of_the_wrong_kind_is_none(change: dict[str, Any], broken: Path) -> None:
    beat = {"pid": 1, "process_started": 0.0, "host": socket.gethostname(), "time": 0.0}
    (broken / "heartbeat").write_text(json.dumps(beat | change))
    assert read_status(broken).state == "interrupted"
