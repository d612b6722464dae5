"""Several programs at the same moment: each new run has its own folder, and only one resumes a run."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from short_runs import QUICK, save_model_and_images
from test_exact import leave

from tetrad.run import heartbeat
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.status import list_runs, read_status
from tetrad.run.train import train
from tetrad.settings import build_recipe
from tetrad.settings.toml import put

START_TOGETHER = """
import json, sys, time
sys.path[:] = json.loads(sys.argv[1])
from pathlib import Path
from tetrad.errors import TetradError
from tetrad.run.folder import RunFolder
from tetrad.run.resume.resume import resume
print("ready", flush=True)
moment = float(sys.stdin.readline())
while time.time() < moment:
    pass
{work}
"""
RESUME = """
try:
    list(resume(Path(sys.argv[2])))
    print("finished")
except TetradError as error:
    print(error)
"""
CREATE = "print(*[RunFolder.create(Path(sys.argv[2]), 'zkr').path.name for _ in range(20)])"


def start_together(work: str, argument: Path, count: int) -> list[str]:
    """What so many processes print that do something within the same millisecond."""
    command = [sys.executable, "-c", START_TOGETHER.format(work=work), json.dumps(sys.path), str(argument)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    for process in started:
        assert process.stdout and process.stdout.readline() == "ready\n"
    moment = f"{time.time() + 0.3}\n"
    for process in started:  # they wait for the moment, not for their input
        assert process.stdin
        process.stdin.write(moment)
        process.stdin.flush()
    return [process.communicate(timeout=300)[0].strip() for process in started]


def test_each_run_that_is_begun_at_the_same_moment_has_its_own_folder(tmp_path: Path) -> None:
    names = [name for printed in start_together(CREATE, tmp_path / "runs", 2) for name in printed.split()]
    assert len(set(names)) == len(names) == 40 == len(list((tmp_path / "runs").iterdir()))


@pytest.mark.skipif(os.name == "nt", reason="compares clocks of processes to a millisecond")
def test_only_one_of_two_processes_resumes_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(save_model_and_images(tmp_path, 1))
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: steps_left > 0)
    values: dict[str, object] = {}
    for key, value in (QUICK | {"train.steps": 30, "save.out": str(tmp_path / "runs"), "sample.every": -1}).items():
        put(values, key, value)
    leave(train(build_recipe(values)), 3)
    folder = tmp_path / "runs" / "zkr"
    printed = sorted(start_together(RESUME, folder, 2), key=len)
    assert printed[0] == "finished" and printed[1].startswith(f"E4203 {folder} is in use by process ")
    assert read_status(folder).state == "finished" and not (folder / "lock").exists()
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 31))
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
