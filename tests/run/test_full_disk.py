"""A full disk makes a run wait and nothing is lost; without waiting it goes on where it can and ends where it must."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import short_runs
from short_runs import QUICK, save_model_and_images

from tetrad.data.latent_cache import LatentCache
from tetrad.errors import TetradError
from tetrad.formats import atomic_write
from tetrad.formats.weight_files import read_weight_file
from tetrad.images.examine import ImageInfo
from tetrad.images.measure import Measures
from tetrad.run import folder as folder_module
from tetrad.run.events import Event, Finished, Note, Trained
from tetrad.run.folder import append_whole
from tetrad.run.full_disk import DiskGuard, is_full_disk
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.resume.resume import resume
from tetrad.run.train import train
from tetrad.settings import Recipe

WAITS, POINT_LOST, PREVIEW_LOST, LOG_LOST = "W4204", "W4203", "W4205", "W4201"


DEFAULT = QUICK | {"train.steps": 3, "train.batch_size": 1, "save.every": 2}
DEFAULT |= {"sample.every": 2, "sample.steps": 1, "sample.prompts": ["a zkr"], "sample.before_training": False}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model_and_images(tmp_path_factory.mktemp("full"), 2)


@pytest.fixture(autouse=True)
def quick(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(place)
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: steps_left > 0)
    monkeypatch.setattr("tetrad.run.full_disk._RETRY_SECONDS", 0.0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def make_recipe(out: Path, **settings: Any) -> Recipe:
    return short_runs.make_recipe(out, DEFAULT | settings)


def fill(disk: Path, left: int) -> None:
    """Write a file that leaves so many bytes of space."""
    with (disk / "filler").open("wb") as file:
        while (free := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize) > left:
            file.write(bytes(min(free - left, 1 << 20)))
            file.flush()


def codes(events: list[Event]) -> list[str]:
    return [event.code for event in events if isinstance(event, Note) and event.code.startswith("W42")]


def refuse(monkeypatch: pytest.MonkeyPatch, which: Callable[[str], bool], number: int = errno.ENOSPC) -> list[str]:
    """Let every atomic write of a file whose path `which` is true of fail; returns the paths that were tried.

    The disk has space again once the returned list is cleared with `.clear()` and "over" is put into it.
    """
    tried: list[str] = []
    stage = atomic_write.os.replace

    def replace(source: Any, target: Any) -> None:
        if which(str(target)) and "over" not in tried:
            tried.append(str(target))
            raise OSError(number, os.strerror(number))
        stage(source, target)

    monkeypatch.setattr(atomic_write.os, "replace", replace)
    return tried


def test_a_run_on_a_full_disk_waits_for_each_file_and_ends_whole(small_disk: Path) -> None:
    waited: list[str] = []
    for event in train(make_recipe(small_disk / "out")):
        if isinstance(event, Trained):
            fill(small_disk, 8_192)  # enough for the logs
        elif isinstance(event, Note) and event.code == WAITS:
            waited.append(event.message.values["path"].name)
            assert "missing" in event.message.values
            (small_disk / "filler").unlink()
        elif isinstance(event, Note) and event.message.template.endswith("is written; the run goes on"):
            fill(small_disk, 8_192)
    assert isinstance(event, Finished) and event.complete
    assert set(waited) == {"resume", "step00000002-00.png", "step00000002-sheet.png", "zkr-step00000002", "zkr"} | {
        "step00000003-00.png",
        "step00000003-sheet.png",
    }
    assert read_weight_file(event.path).tensors and not list(event.folder.glob(".*"))


def test_a_line_of_a_log_is_written_whole_or_not_at_all(small_disk: Path) -> None:
    path = small_disk / "log"
    append_whole(path, b"first\n")
    fill(small_disk, 0)
    with pytest.raises(OSError) as caught:
        append_whole(path, bytes(100_000))
    assert is_full_disk(caught.value) and path.read_bytes() == b"first\n"


def test_a_full_disk_of_the_cache_makes_the_run_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = refuse(monkeypatch, lambda path: "/latents/" in path, errno.EDQUOT)
    seen = []
    for event in train(make_recipe(tmp_path)):
        seen.append(event)
        if isinstance(event, Note) and event.code == WAITS:
            tried.append("over")
    assert codes(seen) == [WAITS] and len(tried) == 3  # when it was encoded, once more at once, and over
    assert len(list((tmp_path / "cache" / "latents").iterdir())) == 2


def test_without_waiting_the_run_goes_on_without_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, lambda path: "/latents/" in path)
    seen = list(train(make_recipe(tmp_path, **{"save.wait_for_space": False})))
    assert isinstance(seen[-1], Finished) and "W6101" in [event.code for event in seen if isinstance(event, Note)]


def test_a_log_waits_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def append(path: Path, content: bytes) -> None:
        if path.name == "metrics.jsonl" and len(tries) < 1:
            tries.append(1)
            raise OSError(errno.ENOSPC, "full")
        append_whole(path, content)

    monkeypatch.setattr(folder_module, "append_whole", append)
    seen = list(train(make_recipe(tmp_path)))
    assert codes(seen) == [WAITS] and isinstance(seen[-1], Finished)
    assert len((seen[-1].folder / "metrics.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENOENT])
def test_a_preview_that_cannot_be_written_never_stops_a_run(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a full disk would be waited for."""
    refuse(monkeypatch, lambda path: path.endswith(".png") and "samples" in path, number)
    seen = list(train(make_recipe(tmp_path, **{"save.wait_for_space": number != errno.ENOSPC, "sample.every": 1})))
    assert isinstance(seen[-1], Finished) and seen[-1].complete
    assert codes(seen) == [PREVIEW_LOST]


def test_without_waiting_a_final_file_ends_the_run_and_every_step_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(train(make_recipe(tmp_path / "whole")))[-1]
    with monkeypatch.context() as patch:
        refuse(patch, lambda path: path.endswith("zkr.safetensors"))
        with pytest.raises(TetradError) as caught:
            list(train(make_recipe(tmp_path, **{"save.wait_for_space": False})))
    assert caught.value.code == "E4202"
    seen = list(resume(tmp_path / "zkr"))
    assert not any(isinstance(event, Trained) for event in seen)
    assert isinstance(seen[-1], Finished) and isinstance(whole, Finished) and seen[-1].complete
    ours, theirs = (read_weight_file(event.path).tensors for event in (seen[-1], whole))
    assert all(ours[name].equal(tensor) for name, tensor in theirs.items())


def test_a_step_file_that_ended_the_run_is_written_when_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        refuse(patch, lambda path: path.endswith("-step00000002.safetensors"))
        with pytest.raises(TetradError, match="E4202"):
            list(train(make_recipe(tmp_path, **{"save.wait_for_space": False})))
    assert not (tmp_path / "zkr" / "zkr-step00000002.safetensors").exists()
    assert isinstance(list(resume(tmp_path / "zkr"))[-1], Finished)
    assert (tmp_path / "zkr" / "zkr-step00000002.safetensors").exists()


def test_a_point_that_finds_no_space_is_skipped_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_point(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("tetrad.run.resume.keeper.write_point", write_point)
    seen = list(train(make_recipe(tmp_path, **{"save.wait_for_space": False})))
    assert codes(seen) == [POINT_LOST] and isinstance(seen[-1], Finished)


def test_stop_is_heard_while_a_run_waits_for_space() -> None:
    stopped: list[bool] = []

    def write() -> None:
        raise OSError(errno.ENOSPC, "full")

    events = DiskGuard(lambda: bool(stopped)).write(Path("file"), 10, write)
    assert next(events).code == WAITS  # type: ignore[union-attr]
    stopped.append(True)
    with pytest.raises(OSError):
        next(events)


def test_the_cache_takes_up_writing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, info = LatentCache(tmp_path), ImageInfo(1, 2, b"x", Measures(0.5, 0.2, 0.3))
    with monkeypatch.context() as patch:
        refuse(patch, lambda path: "pictures" in path)
        cache.put_image_info("one", info)
    assert cache.get_image_info("one") is None and len(cache.warnings) == 1
    cache.retry()
    assert cache.get_image_info("one") == info and cache.warnings == []
    cache.put_image_info("two", info)
    assert cache.get_image_info("two") == info
