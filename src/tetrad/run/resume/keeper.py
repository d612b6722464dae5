"""Writes a run's resume points while it trains, and removes them when it has ended whole."""

import shutil
import time
from collections.abc import Callable, Iterator

from tetrad.locales import Message, _, ngettext
from tetrad.models import device as devices
from tetrad.run.events import Event, Note, PointSaved
from tetrad.run.folder import RunFolder
from tetrad.run.full_disk import NO_WAITING, DiskGuard
from tetrad.run.recovery import PointWish
from tetrad.run.resume.interval import MAX_LOSS_SECONDS, SaveInterval
from tetrad.run.resume.points import FOLDER, ResumePoint, write_point
from tetrad.run.saving import saving
from tetrad.training.state import TrainingState


class PointKeeper:
    """Saves the state that `capture` gives, into the folder `resume` of a run of `last` steps."""

    def __init__(
        self,
        folder: RunFolder,
        capture: Callable[[], TrainingState],
        first: int,
        last: int,
        disk: DiskGuard = NO_WAITING,
    ) -> None:
        self.path = folder.path / FOLDER
        self.capture = capture
        self.first, self.last, self.disk = first, last, disk
        self.saved_step = first
        self.is_explained = self.has_failed = False
        self.size = sum(tensor.nbytes for tensor in capture().tensors.values())
        self.interval = SaveInterval(self.size)

    def save_if_due(self, step: int, wish: PointWish = "usual") -> Iterator[Event]:
        """Write a point where one is due after this step, or is wished for at once; none that is to come later."""
        if wish == "now" and step < self.last:
            yield from self.save(step)
        elif wish == "usual" and self.interval.is_due(step - self.first, self.last - step):
            yield from self.save(step)
            yield from self.explain(step)

    def save_decision(self, step: int, wish: PointWish) -> Iterator[Event]:
        """Write the point of this step, again if it has one, where the run has decided something since then."""
        if wish == "now":
            yield from self.save(step, again=True)

    def save(self, step: int, again: bool = False) -> Iterator[Event]:
        """Write a point, unless this step has one; where that is impossible, the older ones stay, and W4203 says so."""
        if step == self.saved_step and not again:
            return
        start = time.monotonic()
        try:
            yield from self.disk.write(self.path, self.size, lambda: self._write(step))
        except Exception as error:
            is_memory_short = devices.is_memory_error(error)
            if not (isinstance(error, OSError) or is_memory_short):
                raise
            self.interval.record_save(time.monotonic() - start)
            if not self.has_failed:
                template = _(
                    "the resume point of step {step} cannot be written ({reason}); training continues, and after a"
                    " crash it would resume from step {saved_step}"
                )
                reason = getattr(error, "strerror", None) or error
                if is_memory_short:
                    reason = Message(_("there is not enough memory"))
                yield Note(Message(template, step=step, reason=reason, saved_step=self.saved_step), "W4203")
            self.has_failed = True
            return
        self.has_failed, self.saved_step = False, step
        self.interval.record_save(time.monotonic() - start)
        yield PointSaved(step, round(self.interval.cost, 3))

    def _write(self, step: int) -> None:
        with saving():
            write_point(self.path, ResumePoint(step, self.capture()))

    def explain(self, step: int) -> Iterator[Event]:
        """Say once where a point costs so much that a crash can cost more than a minute of work."""
        seconds = self.interval.seconds(step - self.first, self.last - step)
        if self.is_explained or seconds <= MAX_LOSS_SECONDS:
            return
        self.is_explained = True
        template = ngettext(
            "a resume point is saved every minute, because each takes {seconds:.0f} s and saving may take at most 2% of"
            " the time; a crash costs at most that much work",
            "a resume point is saved every {count} minutes, because each takes {seconds:.0f} s and saving may take at"
            " most 2% of the time; a crash costs at most that much work",
            round(seconds / 60),
        )
        yield Note(Message(template, seconds=self.interval.cost))

    def remove(self) -> None:
        """Remove all points of a run that has ended whole."""
        shutil.rmtree(self.path, ignore_errors=True)
