"""A process that trains beside its caller is known by its mark, and is stopped only where it obeys."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from tetrad.contest.trainings import Trainings
from tetrad.run.heartbeat import Beat, describe_process
from tetrad.run.own_process import is_own_process_alive, start_own_process, stop_own_process
from tetrad.sweep.attempt import Attempt


def write_beat(path: Path) -> None:
    """This process."""
    beat = describe_process(os.getpid())
    assert isinstance(beat, Beat)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(beat)), "utf-8")


def test_a_process_is_known_by_its_mark_until_it_has_ended(tmp_path: Path) -> None:
    mark = tmp_path / "run.process"
    assert not is_own_process_alive(mark)
    with (tmp_path / "log").open("wb") as log:
        process = start_own_process(["--version"], log, mark)
    assert is_own_process_alive(mark)
    assert process.wait() == 0 and not is_own_process_alive(mark)
    assert "tetrad" in (tmp_path / "log").read_text("utf-8").lower()


def test_a_run_is_told_to_end_only_where_its_process_listens(tmp_path: Path) -> None:
    """A process that begins removes what was said before, so that it would train to the end."""
    run = tmp_path / "run"
    assert not stop_own_process(run)
    run.mkdir()
    (run / "recipe.toml").touch()
    assert not stop_own_process(run) and not (run / "control").exists()
    write_beat(run / "heartbeat")
    assert stop_own_process(run) and (run / "control" / "stop").exists()


def test_a_run_whose_process_is_still_loading_is_not_started_twice(tmp_path: Path) -> None:
    recipe = tmp_path / "recipes" / "lora.toml"
    write_beat(recipe.with_suffix(".process"))
    recipe.write_text('[save]\nname = "zkr-lora"\n', "utf-8")
    assert Attempt(tmp_path, "lora").is_alive() and not Attempt(tmp_path, "other").is_alive()
    assert Trainings(tmp_path, {"lora": recipe}, lambda: False, print)._is_alive("lora")
