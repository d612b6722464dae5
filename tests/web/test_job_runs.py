"""A training that is started from the queue is found by its folder, obeys, and is seen to be killed."""

import json
import os
import signal
from pathlib import Path

import pytest
from short_runs import QUICK, make_recipe, save_model_and_images
from web_jobs import is_over, wait_until

from tetrad.settings import dump_recipe
from tetrad.web.jobs import Queue, Supervisor

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")


def test_a_training_is_found_pauses_goes_on_and_is_seen_to_be_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    save_model_and_images(tmp_path, 2)
    settings = QUICK | {"train.steps": 100_000, "sample.every": -1, "train.device": "cpu"}
    (tmp_path / "recipe.toml").write_text(dump_recipe(make_recipe(tmp_path / "runs", settings)))
    queue = Queue(tmp_path / "state")
    number = queue.add("train", ["--recipe", str(tmp_path / "recipe.toml")], tmp_path, "cpu", "zkr")
    supervisor = Supervisor(queue, [tmp_path / "runs"])
    assert supervisor.look() == [number] and supervisor.look() == []
    run = tmp_path / "runs" / "zkr"
    wait_until(lambda: (run / "metrics.jsonl").exists(), 120)
    job = queue.read_job(number)
    assert job.state == "running" and job.run == run and job.process
    queue.pause(number)
    wait_until(lambda: queue.read_job(number).state == "paused")
    queue.go_on(number)
    wait_until(lambda: queue.read_job(number).state == "running")
    queue.stop(number)
    assert (run / "control" / "stop").exists() or not queue.read_job(number).is_alive
    os.kill(job.process.pid, signal.SIGKILL)
    wait_until(lambda: is_over(queue.read_job(number)), 15)
    assert queue.read_job(number).state == "interrupted"
    wait_until(lambda: not (supervisor.look() or supervisor._children))
    (started,) = (json.loads(line) for line in (run / "events.jsonl").read_text().splitlines() if '"started"' in line)
    assert started["pid"] == job.process.pid and started["folder"] == str(run)
