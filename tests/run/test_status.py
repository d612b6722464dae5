"""The state of a run is derived from its folder; commands to it are files that it takes and acknowledges."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tetrad.errors import TetradError
from tetrad.run import heartbeat
from tetrad.run.control import COMMANDS, Control, send_command
from tetrad.run.events import Controlled
from tetrad.run.folder import RunFolder
from tetrad.run.heartbeat import Beat, Heartbeat, lock_folder, read_beat, read_start_time
from tetrad.run.status import find_run, list_runs, read_log, read_status, remove_run
from tetrad.run.watch import never_stop, watch_folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An interrupted run: three of ten steps are in its log, and the fourth line is cut off."""
    path = tmp_path / "runs" / "zkr"
    (path / "resume" / "step-00000002").mkdir(parents=True)
    (path / "recipe.toml").write_text('[method]\nkind = "lora"\n')
    lines = [json.dumps({"event": "trained", "step": step, "steps": 10}) + "\n" for step in (1, 2, 3)]
    (path / "metrics.jsonl").write_text("".join(lines) + '{"event": "trai')
    (path / "events.jsonl").write_text('{"event": "phase", "name": "training"}\n{"event": "sav')
    return path


def write_beat(run: Path, **changes: Any) -> None:
    me = psutil.Process()
    values = {"pid": me.pid, "process_started": read_start_time(me), "host": socket.gethostname(), "time": time.time()}
    (run / "heartbeat").write_text(json.dumps(values | changes))


def finish(run: Path) -> None:
    (run / "events.jsonl").write_text('{"event": "finished", "complete": true}\n{"event": "note", "text": "after"}\n')


def test_a_killed_run_is_interrupted_and_says_where_it_can_be_resumed(run: Path) -> None:
    status = read_status(run)
    assert (status.state, status.step, status.steps, status.resume_step) == ("interrupted", 3, 10, 2)
    assert status.method == "lora" and status.size == sum(f.stat().st_size for f in run.rglob("*") if f.is_file())


@pytest.mark.parametrize(
    "beat,state",
    [
        ({}, "running"),
        ({"paused": True}, "paused"),
        ({"pid": 2**22 + 1}, "interrupted"),
        ({"process_started": 5.0}, "interrupted"),  # the number of a process that has ended, given to another one
        ({"host": "elsewhere"}, "running"),
        ({"host": "elsewhere", "time": time.time() - 60}, "interrupted"),
    ],
)
def test_a_run_is_running_only_while_its_process_lives(beat: dict[str, Any], state: str, run: Path) -> None:
    write_beat(run, **beat)
    assert read_status(run).state == state


def test_a_run_is_finished_after_its_event_and_failed_with_an_error(run: Path) -> None:
    finish(run)
    assert read_status(run).state == "finished"
    (run / "error.json").write_text(json.dumps({"code": "E7001", "text": "E7001 the loss is NaN"}))
    assert read_status(run).state == "failed" and read_status(run).error == "E7001 the loss is NaN"


@pytest.mark.parametrize("damage", ["", "[1, 2]", "{", "\x00\x01", "{}"])
def test_damaged_files_of_a_run_do_not_stop_the_list(damage: str, run: Path) -> None:
    for name in ("heartbeat", "error.json", "metrics.jsonl", "events.jsonl", "plan.toml", "recipe.toml"):
        (run / name).write_text(damage)
    assert [status.state for status in list_runs(run.parent)] == ["interrupted"]


def test_a_run_is_found_by_name_or_path_and_else_the_known_ones_are_named(run: Path) -> None:
    assert find_run("zkr", run.parent) == find_run(str(run), run.parent) == run
    with pytest.raises(TetradError, match=r"E5162.*no run named cat.*has zkr"):
        find_run("cat", run.parent)
    with pytest.raises(TetradError, match=r"E5162.*has no runs"):
        find_run("cat", run.parent / "nothing")


def test_removing_a_run_leaves_what_was_trained(run: Path) -> None:
    for name in ("zkr.safetensors", "zkr-step00000002.safetensors"):
        (run / name).touch()
    removed = {path.name for path in remove_run(run)}
    assert removed == {"resume", "metrics.jsonl", "events.jsonl"}
    assert {path.name for path in run.iterdir()} == {"recipe.toml", "zkr.safetensors", "zkr-step00000002.safetensors"}


def test_the_log_leaves_out_a_line_that_is_cut_off(run: Path) -> None:
    assert [record["step"] for record in read_log(run / "metrics.jsonl")] == [1, 2, 3]


def test_a_heartbeat_tells_the_step_and_ends_with_the_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL_SECONDS", 0.01)
    beating = Heartbeat(run)
    beating.start()
    beating.step = 7
    deadline = time.monotonic() + 10
    while (beat := read_beat(run)) is None or beat.step != 7:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert beat.is_alive() and beat.pid == os.getpid()
    beating.stop()
    assert read_beat(run) is None


def test_a_zombie_and_a_process_that_has_ended_are_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    beat = Beat(child.pid, read_start_time(psutil.Process(child.pid)), socket.gethostname(), time=time.time())
    deadline = time.monotonic() + 20
    while beat.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.wait()
    assert not beat.is_alive()


HOLD = "import sys; sys.path[:] = {path!r}; from tetrad.run.heartbeat import *\nwith lock_folder(Path({folder!r})):\n"


def test_only_one_process_holds_a_folder_and_a_dead_one_holds_none(run: Path) -> None:
    code = HOLD.format(path=sys.path, folder=str(run)) + " print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline()
        with pytest.raises(TetradError, match="E4203"), lock_folder(run):
            pass
        holder.kill()
    with lock_folder(run), pytest.raises(TetradError, match="E4203"), lock_folder(run):
        pass


def test_every_command_is_taken_once_and_acknowledged(run: Path) -> None:
    taken: list[str] = []
    control = Control(run, taken.append)
    for command in COMMANDS:
        send_command(run, command)
    control.look()
    assert sorted(taken) == sorted(COMMANDS) and not list((run / "control").iterdir())
    assert control.is_stopped and control.take("save") and control.take("sample")
    assert not control.take("save")


def test_a_paused_run_waits_until_it_is_continued_and_tells_so(run: Path) -> None:
    with watch_folder(RunFolder(run, "zkr"), never_stop) as watch:
        assert not watch()
        send_command(run, "pause")
        threading.Timer(0.7, send_command, (run, "continue")).start()
        time.sleep(0.3)
        start, states = time.monotonic(), []
        observer = threading.Timer(0.2, lambda: states.append(read_status(run).state))
        observer.start()
        assert not watch()
        assert time.monotonic() - start > 0.2 and states == ["paused"]
        assert [event.command for event in watch.take_events() if isinstance(event, Controlled)] == [
            "pause",
            "continue",
        ]
        send_command(run, "stop")
        time.sleep(0.3)
        assert watch()


def test_a_command_for_an_earlier_process_is_not_obeyed(run: Path) -> None:
    send_command(run, "stop")
    with watch_folder(RunFolder(run, "zkr"), never_stop) as watch:
        assert not watch()
