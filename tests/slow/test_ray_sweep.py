"""A sweep on a local Ray with two workers; the run of one that is killed goes on in another."""

import os
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from short_runs import QUICK, save_model_and_images

from tetrad.run.status import read_status
from tetrad.settings.toml import put
from tetrad.sweep.sweep import Sweep

pytestmark = pytest.mark.slow


def test_the_run_of_a_killed_worker_is_resumed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("ray") is None:  # not imported here: what it listens on is decided then
        pytest.skip("ray is not installed")
    from tetrad.sweep.on_ray import OnRay

    save_model_and_images(tmp_path, 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    base: dict[str, object] = {}
    for key, value in (QUICK | {"train.steps": 300, "sample.every": -1, "method.rank": 2}).items():
        put(base, key, value)
    killed: list[int] = []

    def kill_one() -> None:
        """A worker and the run that it has started, as a machine that is lost takes both."""
        run = tmp_path / "sweep" / "seed-0"
        while not killed:
            time.sleep(0.2)
            if not list((run / "resume").glob("step-*")):
                continue
            for process in psutil.process_iter(["cmdline"]):
                arguments = process.info["cmdline"] or []
                if "tetrad" in arguments and any("seed-0" in each for each in arguments):
                    worker = process.parent()
                    assert worker
                    killed.append(worker.pid)
                    for each in (worker, process):
                        each.kill()
                    return

    sweep = Sweep.open(base, ["train.seed=0,1"], tmp_path / "sweep")
    place = OnRay()
    listening = {
        connection.laddr.ip
        for process in psutil.process_iter()
        if process.pid == os.getpid() or "raylet" in process.name() or "gcs_server" in process.name()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening and {each.removeprefix("::ffff:") for each in listening} <= {"127.0.0.1", "::1"}
    threading.Thread(target=kill_one, daemon=True).start()
    try:
        *_, rows = sweep.train(place, lambda: False)
    finally:
        place.close()
    assert killed and {row.state for row in rows} == {"finished"}
    assert read_status(tmp_path / "sweep" / "seed-0").step == 300
    assert "resuming" in (tmp_path / "sweep" / "logs" / "seed-0.log").read_text("utf-8")
