"""Tidies the folder of runs at the start of one: what killed runs left behind, and resume points beyond a limit."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tetrad.cache_location import get_cache_folder
from tetrad.data.cache_folder import CacheFolder
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import is_temporary, remove_all, remove_left_behind
from tetrad.locales import Message, ngettext
from tetrad.run.events import Event, Note
from tetrad.run.folder import RunFolder
from tetrad.run.heartbeat import lock_folder, read_beat
from tetrad.run.resume.points import FOLDER, is_unfinished_point, list_points, read_step
from tetrad.run.status import keeps_points, read_status

_GB = 1e9
_KEPT_FOR_MONTHS = ("base-images", "fetched")  # in the cache: what the judge generated, what came from object storage
_MAX_UNUSED_SECONDS = 90 * 86_400
_PLACES = ("", "samples", FOLDER)  # where a run writes, in its folder


def tidy_runs(folder: RunFolder, max_resume_gb: float) -> Iterator[Event]:
    """Tidy the folder that a run's own folder is in.  Only runs whose process has ended are touched, and no result.

    Of the unfinished ones the oldest resume points are removed while all together are larger than `max_resume_gb`; the
    newest point of the newest one stays.
    """
    remove_all(_find_leftovers(folder.path))
    _tidy_cache()
    with suppress(OSError):
        others = [
            path for path in folder.path.parent.iterdir() if _is_ended_run(path) and not path.samefile(folder.path)
        ]
        for path in others:
            if leftovers := _find_leftovers(path):
                with suppress(TetradError), lock_folder(path):
                    remove_all(leftovers)
        resumable = [read_status(path) for path in others if list_points(path / FOLDER)]
        _remove_finished([status.path for status in resumable if status.state == "finished"])
        unfinished = [status for status in resumable if status.state in ("interrupted", "failed")]
        newest_first = sorted(unfinished, key=lambda status: status.changed, reverse=True)
        yield from _remove_points([status.path for status in newest_first], max_resume_gb)


def _remove_points(runs: list[Path], max_resume_gb: float) -> Iterator[Event]:
    """Remove the oldest points of these runs, the newest of which comes first, beyond the limit."""
    points = sorted((point for run in runs for point in list_points(run / FOLDER)), key=_time_of, reverse=True)
    kept = list_points(runs[0] / FOLDER)[:1] if runs else []
    total, removed = sum(map(_size_of, kept)), dict[Path, list[int]]()
    for point in (point for point in points if point not in kept):
        total += _size_of(point)
        run = point.parents[1]
        if total > max_resume_gb * _GB:
            with suppress(TetradError), lock_folder(run):
                shutil.rmtree(point, ignore_errors=True)
                removed.setdefault(run, []).append(read_step(point))
    for run, steps in removed.items():
        template = ngettext(
            "the resume point of step {steps} of {run} is removed, because the points of unfinished runs take more"
            " than {limit} GB (save.max_resume_gb)",
            "the resume points of steps {steps} of {run} are removed, because the points of unfinished runs take more"
            " than {limit} GB (save.max_resume_gb)",
            len(steps),
        )
        values = {"steps": ", ".join(map(str, sorted(steps))), "run": run, "limit": f"{max_resume_gb:g}"}
        yield Note(Message(template, **values), "W4206")


def _find_leftovers(run: Path) -> list[Path]:
    """Temporary files and unfinished points of a run whose process was killed while it wrote them."""
    places = [run / place for place in _PLACES if (run / place).is_dir()]
    paths = [path for place in places for path in place.iterdir()]
    return [path for path in paths if is_temporary(path.name) or is_unfinished_point(path)]


def _tidy_cache() -> None:
    """Remove what killed processes left in the cache, which running ones write to as well, and what no run used."""
    cache = get_cache_folder()
    for folder, _folders, _files in os.walk(cache):
        remove_left_behind(Path(folder))
    CacheFolder(cache).fitted.remove_old()
    for name in _KEPT_FOR_MONTHS:
        with suppress(OSError):
            remove_all(path for path in (cache / name).iterdir() if time.time() - _last_use(path) > _MAX_UNUSED_SECONDS)


def _last_use(path: Path) -> float:
    """When a file, or one of the files in a folder, was written or used last; in Unix time."""
    return max(each.stat().st_mtime for each in (path, *(path.iterdir() if path.is_dir() else ())))


def _remove_finished(runs: list[Path]) -> None:
    """Remove the points of runs that were killed after their end, unless they are to be kept."""
    for run in runs:
        if not keeps_points(run):
            with suppress(TetradError), lock_folder(run):
                shutil.rmtree(run / FOLDER, ignore_errors=True)


def _is_ended_run(path: Path) -> bool:
    """Whether this is the folder of a run whose process has ended."""
    return (path / "recipe.toml").is_file() and not _is_alive(path)


def _is_alive(run: Path) -> bool:
    beat = read_beat(run)
    return beat is not None and beat.is_alive()


def _time_of(path: Path) -> float:
    return path.stat().st_mtime


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
