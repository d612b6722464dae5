"""A disk that cannot be read or flushed (EIO): nothing is silent, nothing whole is lost, and the run can be resumed."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_exact import contents, crash_at, finish, make_recipe, place, point_after_every_step

from tetrad.data import dataset as dataset_module
from tetrad.errors import TetradError
from tetrad.formats import atomic_write, weight_files
from tetrad.run.events import Event, Finished, Note
from tetrad.run.resume import keeper, points
from tetrad.run.resume.resume import resume
from tetrad.run.train import train

__all__ = ["place", "point_after_every_step"]  # the fixtures
LORA: dict[str, Any] = {"method.kind": "lora", "train.steps": 4, "save.every": 0}


def codes(events: list[Event]) -> list[str]:
    return [event.code for event in events if isinstance(event, Note) and event.code]


def fail_on(original: Callable[..., Any], is_bad: Callable[..., bool]) -> Callable[..., Any]:
    """The function, but with an I/O error for arguments that `is_bad` is true of."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        if is_bad(*arguments):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(arguments[0]))
        return original(*arguments, **keywords)

    return call


def test_an_image_that_cannot_be_read_is_named_and_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_bad(file: Any, *_rest: Any) -> bool:
        return str(getattr(file, "name", "")).endswith("subject/1.png")

    monkeypatch.setattr(dataset_module.hashlib, "file_digest", fail_on(dataset_module.hashlib.file_digest, is_bad))
    events = list(train(make_recipe(tmp_path, **LORA)))
    skipped = [str(event.message) for event in events if isinstance(event, Note) and event.code == "E4120"]
    assert len(skipped) == 1 and "1.png" in skipped[0] and "Input/output error" in skipped[0]
    assert isinstance(events[-1], Finished)


def test_a_point_that_cannot_be_read_is_named_and_the_one_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finish(train(make_recipe(tmp_path / "whole", **LORA)))
    folder = crash_at(make_recipe(tmp_path / "broken", **LORA), 4)
    with monkeypatch.context() as patch:
        patch.setattr(points, "_describe", fail_on(points._describe, lambda path: "step-00000003" in str(path)))
        events = list(resume(folder))
    notes = [str(event.message) for event in events if isinstance(event, Note) and event.code == "W5164"]
    assert len(notes) == 1 and "step-00000003" in notes[0] and "Input/output error" in notes[0]
    assert contents(folder) == contents(whole)


def test_a_model_that_cannot_be_read_leaves_the_run_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = finish(train(make_recipe(tmp_path / "whole", **LORA)))
    folder = crash_at(make_recipe(tmp_path / "broken", **LORA), 4)
    with monkeypatch.context() as patch:
        patch.setattr(weight_files, "safe_open", fail_on(weight_files.safe_open, lambda path: "tiny" in path))
        Path("tiny.safetensors").touch()  # or the tests would take the copy of the model that they keep
        with pytest.raises(TetradError, match=r"E5001.*tiny.safetensors cannot be read \(Input/output error\)"):
            list(resume(folder))
    assert contents(finish(resume(folder))) == contents(whole)


def fail_to_flush(monkeypatch: pytest.MonkeyPatch, owner: Any, is_bad: Callable[[str], bool]) -> None:
    """Flushing a file whose path `is_bad` is true of fails."""
    original = os.fsync

    def fsync(handle: int) -> None:
        if is_bad(str(Path(f"/proc/self/fd/{handle}").readlink())):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        original(handle)

    monkeypatch.setattr(owner.os, "fsync", fsync)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs the names of open files")
def test_a_point_that_cannot_be_flushed_is_none_and_the_older_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finish(train(make_recipe(tmp_path / "whole", **LORA)))
    with monkeypatch.context() as patch:
        fail_to_flush(patch, points, lambda path: "step-00000002" in path or "step-00000003" in path)
        events = train(make_recipe(tmp_path / "broken", **LORA))
        seen = []
        for event in events:
            seen.append(event)
            if getattr(event, "step", 0) == 4:
                break
        events.close()  # type: ignore[attr-defined]
    folder = tmp_path / "broken" / "zkr"
    assert codes(seen).count("W4203") == 1  # said once
    assert [path.name for path in (folder / "resume").glob("step-*")] == ["step-00000001"]
    assert not list((folder / "resume").glob(".*"))
    assert contents(finish(resume(folder))) == contents(whole)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs the names of open files")
def test_a_result_that_cannot_be_flushed_is_not_called_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = finish(train(make_recipe(tmp_path / "whole", **LORA)))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with monkeypatch.context() as patch:
        fail_to_flush(patch, atomic_write, lambda path: "/broken/" in path and ".safetensors" in path)
        with pytest.raises(TetradError, match=r"E4202.*Input/output error.*step 4 are in"):
            list(train(make_recipe(tmp_path / "broken", **LORA)))
    folder = tmp_path / "broken" / "zkr"
    assert not list(folder.glob("*.safetensors")) and not list(folder.glob(".*.tetrad-tmp"))
    assert contents(finish(resume(folder))) == contents(whole)


def test_a_point_that_memory_is_short_of_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_point(*_arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(keeper, "write_point", write_point)
    events = list(train(make_recipe(tmp_path, **LORA)))
    notes = [str(event.message) for event in events if isinstance(event, Note) and event.code == "W4203"]
    assert isinstance(events[-1], Finished) and len(notes) == 1 and "not enough memory" in notes[0]
