"""When a run saves a file for use before its end, and which of these files it keeps."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tetrad.run.folder import RunFolder
from tetrad.run.minutes import MinuteTimer
from tetrad.run.plan import SavePlan, TrainPlan

_ROUNDING = 1e-9  # of a number of epochs, so that three thirds are one
_SUFFIXES = ("", ".safetensors", ".pt")  # of a diffusers folder and of the files


class StepFiles:
    """The files with the weights of a step; unlike resume points they are for use, and they stay when the run ends."""

    def __init__(
        self, save: SavePlan, train: TrainPlan, folder: RunFolder, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.save, self.train, self.folder = save, train, folder
        self.timer = MinuteTimer(save.every_minutes, clock)

    def is_due(self, step: int) -> bool:
        """Whether a file is saved after this step; never after the last one, whose file is the result."""
        return step < self.train.steps and (self.timer.is_over() or is_planned(step, self.save, self.train))

    def is_missing(self, step: int) -> bool:
        """Whether this step has no file although save.every or save.every_epochs ask for one."""
        is_planned_before_end = step < self.train.steps and is_planned(step, self.save, self.train)
        return is_planned_before_end and self.find(step) is None

    def note_saved(self, best: str = "") -> None:
        """A file was saved now: remove the oldest that are more than save.keep_last, but not the best one."""
        self.timer.restart()
        if self.save.keep_last:
            for path in self.list_files()[: -self.save.keep_last]:
                if path.name != best:
                    remove_file(path)

    def find(self, step: int) -> Path | None:
        """The file that was saved at this step."""
        name = self.folder.result_path(step).name
        return next((path for path in self.list_files() if path.name.startswith(name)), None)

    def list_files(self) -> list[Path]:
        """The step files that this run wrote, the oldest first."""
        name = re.compile(rf"{re.escape(self.folder.name)}-step(\d{{8}})({'|'.join(map(re.escape, _SUFFIXES))})")
        return sorted(path for path in self.folder.path.iterdir() if name.fullmatch(path.name))


def is_planned(step: int, save: SavePlan, train: TrainPlan) -> bool:
    """Whether save.every or save.every_epochs ask for a file after this step."""
    if save.every and step % save.every == 0:
        return True
    epochs = save.every_epochs * train.steps_per_epoch
    return epochs > 0 and int(step / epochs + _ROUNDING) > int((step - 1) / epochs + _ROUNDING)


def list_planned_steps(save: SavePlan, train: TrainPlan) -> Iterator[int]:
    """The steps of this run after which a file is saved, without those of save.every_minutes and the last one."""
    return (step for step in range(train.steps_before + 1, train.steps) if is_planned(step, save, train))


def remove_file(path: Path) -> None:
    """Remove a trained file or a diffusers folder; one that cannot be removed stays."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)
