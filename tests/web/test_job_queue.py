"""Jobs start in their order, once, one on a device at a time, whatever happens to the servers that start them."""

import itertools
import json
import os
import signal
import time
from pathlib import Path

import pytest
from web_jobs import add_quick, is_over, serving, wait_until

from tetrad.errors import TetradError
from tetrad.web.jobs import Job, Queue, Supervisor
from tetrad.web.jobs.lanes import overlap
from tetrad.web.jobs.process import describe_this_process, enter_process, record_exit


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "state")


def pretend_to_run(queue: Queue, number: int, code: int | None = None) -> Path:
    """The job as if this process ran it, or had ended with a code."""
    folder = queue.folder_of(number)
    folder.mkdir(parents=True, exist_ok=True)
    enter_process(folder)
    if code is not None:
        record_exit(folder, code)
    return folder


def pretend_that_it_was_killed(folder: Path) -> None:
    process = vars(describe_this_process()) | {"process_started": 1.0}
    (folder / "process.json").write_text(json.dumps(process))


def states(queue: Queue) -> list[str]:
    return [job.state for job in queue.list()]


def test_a_job_is_moved_held_and_removed(queue: Queue, tmp_path: Path) -> None:
    first, second, third = (add_quick(queue, tmp_path) for _ in range(3))
    queue.move(third, first)
    assert [job.id for job in queue.list()] == [third, first, second]
    queue.move(third, None)
    queue.pause(second)
    assert [job.id for job in queue.list()] == [first, second, third] and states(queue) == ["queued", "held", "queued"]
    queue.go_on(second)
    queue.remove(first)
    assert [job.id for job in Queue(tmp_path / "state").list()] == [second, third] and set(states(queue)) == {"queued"}
    with pytest.raises(TetradError, match="E4301"):
        queue.move(first, None)


@pytest.mark.parametrize(
    ("code", "state"), [(0, "finished"), (75, "interrupted"), (130, "interrupted"), (5, "failed"), (1, "failed")]
)
def test_the_state_follows_from_the_exit_code(queue: Queue, tmp_path: Path, code: int, state: str) -> None:
    number = add_quick(queue, tmp_path)
    folder = pretend_to_run(queue, number, code)
    (folder / "output.log").write_text('loading\n{"event": "error", "code": "E5001", "text": "there is no file"}\n')
    job = queue.read_job(number)
    assert job.state == state
    assert job.error.get("code") == ("E5001" if state == "failed" else None)


def test_a_job_whose_process_is_gone_without_a_word_was_interrupted(queue: Queue, tmp_path: Path) -> None:
    number = add_quick(queue, tmp_path)
    folder = pretend_to_run(queue, number)
    assert states(queue) == ["running"]
    pretend_that_it_was_killed(folder)
    assert states(queue) == ["interrupted"]


def test_a_running_job_is_not_removed(queue: Queue, tmp_path: Path) -> None:
    number = add_quick(queue, tmp_path)
    pretend_to_run(queue, number)
    with pytest.raises(TetradError, match="E4302"):
        queue.remove(number)
    with pytest.raises(TetradError, match="E4302"):
        queue.pause(number)  # it has no run


def test_only_one_process_may_run_a_job(queue: Queue, tmp_path: Path) -> None:
    number = add_quick(queue, tmp_path)
    assert queue.claim(number) and not queue.claim(number) and not Queue(tmp_path / "state").claim(number)
    folder = queue.folder_of(number)
    folder.mkdir()
    assert enter_process(folder) and not enter_process(folder)


@pytest.mark.parametrize(
    ("device", "other", "expected"),
    [
        ("cpu", "cpu", True),
        ("cuda", "cuda:0", True),
        ("cuda:0", "cuda:1", False),
        ("cpu", "cuda:0", False),
        ("auto", "cuda:1", True),
    ],
)
def test_auto_may_be_any_device(device: str, other: str, expected: bool) -> None:
    assert overlap(device, other) is overlap(other, device) is expected


def test_each_device_has_a_lane_and_nothing_overtakes(queue: Queue, tmp_path: Path) -> None:
    starts: list[int] = []
    supervisor = Supervisor(queue, before_start=lambda job: starts.append(job.id))
    supervisor._start = lambda job: None  # type: ignore[method-assign, assignment]
    numbers = [add_quick(queue, tmp_path, device=each) for each in ("cuda:0", "cuda:0", "cuda:1", "auto", "cuda:1")]
    queue.pause(numbers[2])
    supervisor.look()
    assert starts == [numbers[0]]  # the fourth may need any device, and so the fifth waits behind it
    queue.go_on(numbers[2])
    supervisor.look()
    assert starts == [numbers[0], numbers[2]]


def test_a_device_is_busy_with_a_run_that_was_started_elsewhere(queue: Queue, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "zkr"
    run.mkdir(parents=True)
    (run / "plan.toml").write_text('[train]\ndevice = "cuda:0"\n')
    (run / "heartbeat").write_text(json.dumps(vars(describe_this_process())))
    supervisor = Supervisor(queue, [tmp_path / "runs"])
    supervisor._start = lambda job: None  # type: ignore[method-assign, assignment]
    add_quick(queue, tmp_path, device="cuda")
    other = add_quick(queue, tmp_path, device="cpu")
    assert supervisor.look() == [other]
    (run / "heartbeat").unlink()
    assert len(supervisor.look()) == 1


def test_a_job_that_cannot_be_started_fails_and_the_next_one_starts(queue: Queue, tmp_path: Path) -> None:
    queue.add("runs", [], tmp_path / "missing", "cpu", "no folder")
    queue.add("runs", ["--unknown"], tmp_path, "cpu", "bad option")
    last = add_quick(queue, tmp_path)
    supervisor = Supervisor(queue, look_seconds=0.05)
    supervisor.start()
    wait_until(lambda: is_over(queue.read_job(last)) and not supervisor._children)
    supervisor.stop()
    missing, bad, good = queue.list()
    assert (missing.state, bad.state, good.state) == ("failed", "failed", "finished")
    assert "missing" in missing.error["text"] and bad.error["text"].startswith("there is no option --unknown")
    assert bad.exit is not None and bad.exit.code == 2


def order_of(jobs: list[Job]) -> list[int]:
    """The numbers of the jobs by the time their processes began."""
    return [job.id for job in sorted(jobs, key=lambda job: job.process.time if job.process else 0.0)]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_the_queue_goes_on_when_servers_are_killed_and_two_serve_at_once(queue: Queue, tmp_path: Path) -> None:
    numbers = [add_quick(queue, tmp_path, str(number)) for number in range(5)]
    queue.move(numbers[4], numbers[0])
    expected = [numbers[4], *numbers[:4]]
    with serving(tmp_path / "state", tmp_path) as server:
        wait_until(lambda: not queue.read_job(expected[1]).is_waiting)
        server.send_signal(signal.SIGKILL)
        server.wait()
        wait_until(lambda: is_over(queue.read_job(expected[1])))  # the job outlives the server
    with serving(tmp_path / "state", tmp_path), serving(tmp_path / "state", tmp_path):
        wait_until(lambda: all(map(is_over, queue.list())))
    jobs = queue.list()
    assert {job.state for job in jobs} == {"finished"} and order_of(jobs) == expected
    for earlier, later in itertools.pairwise(jobs):  # never two at once
        assert earlier.exit and later.process and earlier.exit.time <= later.process.time
    assert all(job.log.read_text().count("has no runs") == 1 for job in jobs)  # each ran once


def test_a_claim_ends_with_its_server(queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was killed between two lines does not block its device for ever."""
    number = add_quick(queue, tmp_path)
    assert queue.claim(number)
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert queue.claim(number)
