"""At the start of a run the leftovers of killed runs go, and resume points beyond a limit; results never do."""

import json
import os
import socket
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
from safetensors.torch import save_file
from torch import zeros

from tetrad.formats import atomic_write
from tetrad.formats.atomic_write import is_left_behind, is_temporary, make_temporary_folder, stage_replacement
from tetrad.run.events import Note
from tetrad.run.folder import RunFolder
from tetrad.run.heartbeat import Beat, lock_folder, read_start_time
from tetrad.run.resume.points import is_unfinished_point
from tetrad.run.status import read_status
from tetrad.run.tidy import tidy_runs

LEFT = (
    ".zkr.safetensors.0123abcd-4711.a1b2c3d4.tetrad-tmp",
    "samples/.step00000002-00.png.0123abcd-1._x9y8z7w.tetrad-tmp",
)
UNFINISHED = "resume/.unfinished-step-00000004-4711"
POINT_BYTES = 1000
OWN, DEAD = os.getpid(), 2**22 + 1  # numbers of processes; no process has the second


def make_run(out: Path, name: str, steps: tuple[int, ...] = (), age: int = 0, complete: bool = False) -> RunFolder:
    """A run with resume points after these steps; the age makes its files older."""
    folder = RunFolder.create(out, name)
    folder.write("recipe.toml", "")
    (folder.path / "zkr.safetensors").write_bytes(bytes(5000))
    (folder.path / "resume").mkdir()
    (folder.path / "events.jsonl").write_text(json.dumps({"event": "finished", "complete": complete}) + "\n")
    for step in steps:
        point = folder.path / f"resume/step-{step:08d}"
        point.mkdir()
        (point / "state.safetensors").write_bytes(bytes(POINT_BYTES))
        os.utime(point, (10_000 - 100 * age + step,) * 2)
    for path in folder.path.rglob("*"):
        if path.is_file():
            os.utime(path, (20_000 - 100 * age,) * 2)
    return folder


def test_what_the_cache_has_not_used_for_months_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    images, fetched = tmp_path / "cache/base-images", tmp_path / "cache/fetched"
    paths = [images / "old.png", images / "new.png", fetched / "old/versions.json", fetched / "new/versions.json"]
    long_ago = time.time() - 91 * 86_400
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for path in (images / "old.png", fetched / "old/versions.json", fetched / "old", fetched / "new"):
        os.utime(path, (long_ago, long_ago))
    list(tidy_runs(make_run(tmp_path / "runs", "zkr"), 50))
    assert [path.exists() for path in paths] == [False, True, False, True]


def leave(folder: RunFolder) -> list[Path]:
    """What a killed process leaves, in a run's folder."""
    for name in LEFT:
        (folder.path / name).write_bytes(b"half")
    (folder.path / UNFINISHED).mkdir()
    (folder.path / UNFINISHED / "state.safetensors").write_bytes(b"half")
    return [folder.path / name for name in (*LEFT, UNFINISHED)]


def beat(folder: RunFolder) -> None:
    process = psutil.Process()
    record = Beat(process.pid, read_start_time(process), socket.gethostname(), time=time.time())
    folder.write("heartbeat", json.dumps(asdict(record)))


def points(*folders: RunFolder) -> list[str]:
    return [
        f"{folder.name} {int(path.name[5:])}"
        for folder in folders
        for path in sorted((folder.path / "resume").glob("step-*"))
    ]


def tidy(folder: RunFolder, max_resume_gb: float = 50) -> list[str]:
    notes = [event for event in tidy_runs(folder, max_resume_gb) if isinstance(event, Note)]
    assert all(note.code == "W4206" for note in notes)
    return [str(note.message) for note in notes]


def test_temporary_files_have_a_name_that_is_recognised(tmp_path: Path) -> None:
    for name in ("x.safetensors", "测试" * 30, ".hidden"):
        with stage_replacement(tmp_path / name) as staged:
            staged.touch()
            assert is_temporary(staged.parent.name) and staged.parent.parent == tmp_path
        folder = make_temporary_folder(tmp_path / name)
        assert is_temporary(folder.name) and folder.is_dir()
    for name in (
        "x.0123abcd-1.a1b2c3d4.tetrad-tmp",
        ".x.0123abcd-1.a1b2c3d4",
        ".x.a1b2c3d4.tetrad-tmp",
        ".x.0123abcd-1.a1b2c3d4.tetrad-tmp.safetensors",
        ".bashrc",
    ):
        assert not is_temporary(name)
    assert not is_unfinished_point(tmp_path / ".unfinished-step-00000004-4711")
    assert not is_unfinished_point(tmp_path / "resume" / ".unfinished-notes")


def test_files_that_a_library_writes_beside_a_new_file_belong_to_it(tmp_path: Path) -> None:
    """safetensors has a temporary file of its own, which stayed when the process was killed."""
    path = tmp_path / "x.safetensors"
    with stage_replacement(path) as staged:
        save_file({"a": zeros(1)}, staged)
        staged.with_name(".tmpA1b2C3").write_bytes(b"half")
        assert [is_temporary(each.name) for each in tmp_path.iterdir()] == [True]
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_ended_runs_are_removed_and_nothing_else(tmp_path: Path) -> None:
    own, killed, running, held = (make_run(tmp_path, name) for name in ("own", "killed", "running", "held"))
    gone = [*leave(own), *leave(killed)]
    kept = [*leave(running), *leave(held)]
    beat(running)
    others = [killed.path / ".zkr.safetensors", killed.path / "notes.tetrad-tmp", tmp_path / LEFT[0]]
    no_run = tmp_path / "no run"
    no_run.mkdir()
    others.append(no_run / LEFT[0])
    for path in others:
        path.write_text("mine")
    with lock_folder(held.path):
        tidy(own)
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in (*kept, *others))
    assert (killed.path / "zkr.safetensors").stat().st_size == 5000


def leave_unfinished(folder: Path, monkeypatch: pytest.MonkeyPatch, host: str = "", pid: int = OWN) -> Path:
    """A temporary file that a process of this computer, or of another one, has not completed."""
    folder.mkdir(parents=True, exist_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(atomic_write.os, "getpid", lambda: pid)
        if host:
            patch.setattr(atomic_write.socket, "gethostname", lambda: host)
        path = make_temporary_folder(folder / "x.safetensors")
    (path / "half").write_bytes(b"half")
    return path


def test_only_what_ended_processes_left_in_the_cache_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other runs use the cache at the same time, so the name of a temporary file tells who writes it."""
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    latents, hashes = tmp_path / "cache" / "latents", tmp_path / "cache" / "a" / "b"
    gone = [leave_unfinished(latents, monkeypatch, pid=DEAD), leave_unfinished(hashes, monkeypatch, pid=DEAD)]
    reused, old = leave_unfinished(latents, monkeypatch), leave_unfinished(latents, monkeypatch, "elsewhere", DEAD)
    kept = [leave_unfinished(latents, monkeypatch), leave_unfinished(latents, monkeypatch, "elsewhere", DEAD)]
    os.utime(reused, (1e9, 1e9))  # before the process that has this number now
    os.utime(old, (time.time() - 90_000,) * 2)
    (latents / "whole.safetensors").touch()
    assert [is_left_behind(path) for path in (*gone, reused, old, *kept)] == [True] * 4 + [False] * 2
    tidy(make_run(tmp_path / "runs", "own"))
    assert not any(path.exists() for path in (*gone, reused, old))
    assert all(path.exists() for path in (*kept, latents / "whole.safetensors"))


def test_a_new_file_removes_what_a_killed_process_left_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = leave_unfinished(tmp_path, monkeypatch, pid=DEAD)
    atomic_write.write_atomically(tmp_path / "merged.safetensors", b"whole")
    assert not left.exists() and (tmp_path / "merged.safetensors").exists()


def test_points_of_a_run_that_was_killed_after_its_end_are_removed(tmp_path: Path) -> None:
    own, done, keeping = (make_run(tmp_path, name, (5,), complete=name != "own") for name in ("own", "done", "keeping"))
    keeping.write("recipe.toml", "[save]\nkeep_resume = true\n")
    assert tidy(own) == []
    assert points(own, done, keeping) == ["own 5", "keeping 5"]
    assert (done.path / "zkr.safetensors").exists() and read_status(done.path).state == "finished"


def test_the_oldest_points_beyond_the_limit_are_removed_and_named(tmp_path: Path) -> None:
    own = make_run(tmp_path, "own", (1,), age=99)
    newer, older = make_run(tmp_path, "newer", (10, 20), age=1), make_run(tmp_path, "older", (30, 40), age=2)
    finished, running = (
        make_run(tmp_path, "done", (5,), age=3, complete=True),
        make_run(tmp_path, "running", (6,), age=4),
    )
    beat(running)
    untouched = ["own 1", "running 6"]
    assert tidy(own, 4 * POINT_BYTES / 1e9) == []
    assert points(newer, older) == ["newer 10", "newer 20", "older 30", "older 40"]
    assert tidy(own, 3 * POINT_BYTES / 1e9) == [
        f"the resume point of step 30 of {older.path} is removed, because the points of unfinished runs take more than"
        " 3e-06 GB (save.max_resume_gb)"
    ]
    assert points(newer, older) == ["newer 10", "newer 20", "older 40"]
    assert len(tidy(own, 0)) == 2
    assert points(newer, older) == ["newer 20"] and points(own, running) == untouched
    assert all((folder.path / "zkr.safetensors").exists() for folder in (own, newer, older, finished, running))


@pytest.mark.parametrize("name", ["step-abcdefgh", "step-1"])
def test_a_strange_file_among_the_points_stays(name: str, tmp_path: Path) -> None:
    own, other = make_run(tmp_path, "own"), make_run(tmp_path, "other", (10, 20))
    (other.path / "resume" / name).mkdir()
    assert len(tidy(own, 0)) == 1
    assert (other.path / "resume" / name).exists() and (other.path / "resume" / "step-00000020").exists()
