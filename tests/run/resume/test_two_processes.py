"""Several programs at the same moment: each new run has its own folder, and only one resumes a run."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import commands
import pytest
from short_runs import QUICK, save_model_and_images
from test_exact import leave

from tetrad.errors import TetradError
from tetrad.run import heartbeat
from tetrad.run.folder import RunFolder
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.resume.resume import resume
from tetrad.run.status import list_runs, read_status
from tetrad.run.train import train
from tetrad.settings import build_recipe
from tetrad.settings.toml import put


def start_together(work: str, argument: Path, place: Path, count: int) -> list[str]:
    """What so many processes print that do something, a function of this module, within the same millisecond."""
    place.mkdir()
    started = [
        commands.Command(argument, place, str(number), program=f"test_two_processes:{work}") for number in range(count)
    ]
    while len(list(place.iterdir())) < count:
        assert all(process.is_running for process in started)
        time.sleep(0.01)
    (place / "go").touch()
    return [process.wait().stdout.strip() for process in started]


def wait_for_the_others() -> Path:
    """In one of the processes: wait until all are ready; returns the argument."""
    argument, place, number = sys.argv[1:]
    (Path(place) / number).touch()
    while not (Path(place) / "go").exists():
        pass
    return Path(argument)


def create_runs() -> None:
    folder = wait_for_the_others()
    print(*[RunFolder.create(folder, "zkr").path.name for _ in range(20)])


def resume_run() -> None:
    folder = wait_for_the_others()
    try:
        list(resume(folder))
        print("finished")
    except TetradError as error:
        print(error)


def test_each_run_that_is_begun_at_the_same_moment_has_its_own_folder(tmp_path: Path) -> None:
    printed = start_together("create_runs", tmp_path / "runs", tmp_path / "start", 2)
    names = [name for line in printed for name in line.split()]
    assert len(set(names)) == len(names) == 40 == len(list((tmp_path / "runs").iterdir()))


def test_only_one_of_two_processes_resumes_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(save_model_and_images(tmp_path, 1))
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: steps_left > 0)
    values: dict[str, object] = {}
    for key, value in (QUICK | {"train.steps": 12, "save.out": str(tmp_path / "runs"), "sample.every": -1}).items():
        put(values, key, value)
    leave(train(build_recipe(values)), 3)
    folder = tmp_path / "runs" / "zkr"
    printed = sorted(start_together("resume_run", folder, tmp_path / "start", 2), key=len)
    assert printed[0] == "finished" and printed[1].startswith(f"E4203 {folder} is in use by process ")
    assert read_status(folder).state == "finished" and not (folder / "lock").exists()
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 13))
    assert [status.state for status in list_runs(folder.parent)] == ["finished"]


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps the file")
def test_the_file_of_a_lock_goes_while_the_lock_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later it could be that of another process, which would then hold a lock that nobody sees."""
    existed: list[bool] = []
    release = heartbeat.FileLock.release

    def note(self: Any, *arguments: Any, **keywords: Any) -> None:
        existed.append((tmp_path / "lock").exists())
        release(self, *arguments, **keywords)

    monkeypatch.setattr(heartbeat.FileLock, "release", note)
    with heartbeat.lock_folder(tmp_path):
        assert (tmp_path / "lock").exists()
    assert existed[0] is False
