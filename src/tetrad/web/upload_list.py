"""The images that were dropped on the page: which sets there are, what uses them, and what deleting one removes."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tetrad.data.discover.image_files import IMAGE_SUFFIXES
from tetrad.sizes import format_size
from tetrad.web.data_sets import DataSet
from tetrad.web.drafts import Drafts
from tetrad.web.figures import format_day
from tetrad.web.jobs import Queue
from tetrad.web.places import count_files
from tetrad.web.runs import Runs, Snapshot


@dataclass(frozen=True)
class Upload:
    """A data set with its files counted; `drafts`, `runs` and `jobs` are those that use it."""

    data_set: DataSet
    images: int
    others: int  # captions, masks and what else is beside the images
    bytes: int
    first: str  # the id of its first image, "" for none
    drafts: tuple[str, ...]
    runs: tuple[str, ...]
    living: tuple[str, ...]  # runs that train, and jobs that wait, which read the images

    @property
    def size(self) -> str:
        return format_size(self.bytes)

    @property
    def when(self) -> str:
        return format_day(self.data_set.created, time.time())


def measure_upload(data_set: DataSet, drafts: Drafts, runs: Runs, queue: Queue) -> Upload:
    """Count what is in the set's own folder; the images of a folder that a person pointed to are not part of it."""
    count, size = count_files(data_set.folder)
    shown = [path for path in data_set.list_paths() if path.suffix.lower() in IMAGE_SUFFIXES]
    own = [path for path in shown if path.is_relative_to(data_set.folder)]
    first = data_set.id_of(shown[0]) if shown else ""
    using = list(_find_runs(data_set.folder, runs))
    alive = [run.name for run in using if run.is_alive]
    waiting = [job.wish.title for job in queue.list() if job.is_waiting and _names(job.wish.arguments, data_set)]
    names = tuple(run.name for run in using)
    named = [each.trigger_word or data_set.name for each in drafts.list() if each.data_set == data_set.id]
    return Upload(data_set, len(own), max(0, count - len(own)), size, first, tuple(named), names, (*alive, *waiting))


def _find_runs(folder: Path, runs: Runs) -> Iterator[Snapshot]:
    """The runs that were trained on the images of a folder."""
    for run in runs.read_runs(runs.list_names()):
        images = run.plan_value("data.images", "")
        if images and Path(images) == folder:
            yield run


def _names(arguments: tuple[str, ...], data_set: DataSet) -> bool:
    """Whether the arguments of a job name the folder of a set, or a recipe file that does."""
    folder = str(data_set.folder)
    for argument in arguments:
        path = Path(argument)
        try:
            is_named = argument == folder or (path.suffix == ".toml" and folder in path.read_text("utf-8"))
        except OSError:
            is_named = False
        if is_named:
            return True
    return False
