"""A clock that jumps during a run changes nothing: durations, resume points, states and their order."""

import itertools
import time
from pathlib import Path

import pytest
import short_runs
from short_runs import QUICK, save_model_and_images

from tetrad.cli import terminal
from tetrad.run.events import Finished, PointSaved, Trained
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.resume.resume import resume
from tetrad.run.status import read_status
from tetrad.run.train import train

DAY = 86_400.0


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_clock_that_jumps_changes_nothing(
    jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(save_model_and_images(tmp_path, 1))
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, done, left: left > 0 and self.seconds(done, left) > 0)
    settings = QUICK | {"train.steps": 4, "save.every_minutes": 60, "sample.every": -1}
    now, jumps = time.time, itertools.count(1)
    monkeypatch.setattr(time, "time", lambda: now() + jump * next(jumps))
    events = train(short_runs.make_recipe(tmp_path / "runs", settings))
    saved = 0
    for event in events:
        saved += isinstance(event, PointSaved)
        if isinstance(event, Trained) and event.step == 3:
            break
    events.close()  # type: ignore[attr-defined]
    folder = tmp_path / "runs" / "zkr"
    status = read_status(folder)
    assert (status.state, status.step, status.resume_step, saved) == ("interrupted", 3, 2, 2)
    finished = terminal.show_events(resume(folder), as_json=False)
    assert isinstance(finished, Finished) and 0 <= finished.seconds < 600
    assert read_status(folder).state == "finished" and not list(folder.glob("*-step*"))
    printed = capsys.readouterr().err
    assert "done after 4 steps in 0:" in printed.replace("00:", "0:") and "-1 day" not in printed
