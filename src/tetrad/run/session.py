"""What all runs share, of models and of VAE decoders: recording events, stopping, and saving even after an error."""

import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol

from tetrad.errors import TetradError
from tetrad.estimate.memory import as_memory_error
from tetrad.locales import Message, _
from tetrad.models.device import measure_peak_memory
from tetrad.run.events import Event, Finished, Note, Phase, Progress, Started, Trained
from tetrad.run.folder import RunFolder
from tetrad.run.recovery import PointWish
from tetrad.run.resume.keeper import PointKeeper
from tetrad.run.watch import Watch
from tetrad.training.state import TrainingState
from tetrad.training.update import HalfUpdate


class _Trainee(Protocol):
    """Something that a session can train."""

    @property
    def first(self) -> int:
        """Steps done before this run."""
        ...

    @property
    def last(self) -> int:
        """The step the run ends with."""
        ...

    def capture(self) -> TrainingState:
        """What training has changed so far."""
        ...

    def begin(self) -> Iterator[Event]:
        """What to do before the first step."""
        ...

    def steps(self) -> Iterator[Sequence[Event]]:
        """Train, and yield after the updates that are read together: no update has been made since the last of them."""
        ...

    def wish_for_point(self, step: int) -> PointWish:
        """When a resume point is to be saved after this step."""
        ...

    def after_step(self, step: int) -> Iterator[Event]:
        """What to do after a step: generate previews, save a checkpoint."""
        ...

    def sample(self, step: int) -> Iterator[Event]:
        """Generate previews after a step, because someone asked for them."""
        ...

    def has_effect(self) -> bool:
        """Whether training has changed what the model does."""
        ...

    def find_saved(self, step: int) -> Path | None:
        """The file that was saved at this step, if there is one."""
        ...

    def save(self, step: int, complete: bool) -> Generator[Event, None, Path]:
        """Save the weights of `step`: as the run's result if it is complete, else as a checkpoint of that step."""
        ...


def record_events(folder: RunFolder, events: Iterator[Event], watch: Watch, is_new: bool = True) -> Iterator[Event]:
    """The event that the run has started, then its events, each also written to its folder, and the error at the end.

    After an error before the first step the folder of a new run is removed: there is nothing in it to keep.
    """
    folder.forget_error()
    pid, process_started, _host = watch.heartbeat.identity
    try:
        for event in chain([Started(folder.path.absolute(), pid, process_started)], events):
            if isinstance(event, Trained):
                watch.note_step(event.step)
            if not isinstance(event, Progress):
                yield from folder.note_removal()
            for each in (event, *watch.take_events()):
                yield from folder.record(each, watch.disk)
                yield each
    except Exception as error:
        known = as_memory_error(error)
        if is_new and not (folder.path / "metrics.jsonl").exists():
            watch.heartbeat.stop()  # or its next sign of life keeps the folder from being removed
            shutil.rmtree(folder.path, ignore_errors=True)
        else:
            folder.record_error(known)
        raise known from error


def train_and_save(trainee: _Trainee, folder: RunFolder, watch: Watch, keeps_points: bool = False) -> Iterator[Event]:
    """Train to the last step or until the watch says stop; what was trained is saved then, and before an error too.

    Resume points are written on the way; a run that ends whole removes them, unless `keeps_points`.
    """
    start_time, step = time.monotonic(), trainee.first
    yield from trainee.begin()
    if watch():
        yield note_early_stop(trainee.first > 0)
        return
    training = Phase(Message(_("training")), trainee.last)
    yield training
    keeper = PointKeeper(folder, trainee.capture, trainee.first, trainee.last, watch.disk)
    try:
        for events in trainee.steps():
            yield from events
            newest = events[-1]
            if not isinstance(newest, Trained):
                yield from keeper.save_decision(step, trainee.wish_for_point(step))
                continue
            step = newest.step
            if watch():
                break
            yield from _resume_phase(training, trainee.after_step(step), step < trainee.last)
            yield from _resume_phase(training, _obey(trainee, keeper, watch, step), step < trainee.last)
            yield from keeper.save_if_due(step, trainee.wish_for_point(step))
            if watch():  # it may have been told to stop during previews
                break
    except Exception as error:
        yield from _save_and_raise(trainee, keeper, step, error)
    is_complete = step == trainee.last
    if not is_complete:
        yield from keeper.save(step)
    try:
        path = yield from trainee.save(step, complete=is_complete)
    except Exception:
        yield from keeper.save(step)  # so that only the file is missing, and no step
        raise
    has_effect = not is_complete or trainee.has_effect()
    if not has_effect:
        yield _note_no_effect()
    seconds = time.monotonic() - start_time
    yield Finished(path, folder.path, step, seconds, is_complete, measure_peak_memory(), has_effect)
    if is_complete and not keeps_points:
        keeper.remove()  # after the event is written, so that a run killed here is known to be complete


def note_early_stop(is_resumed: bool) -> Note:
    """The run was stopped before its first step, or a resumed one before it did another step."""
    if is_resumed:
        return Note(Message(_("stopped before the next step: nothing is lost")), "W7501")
    return Note(Message(_("stopped before the first step: nothing was trained yet")), "W7501")


def _note_no_effect() -> Note:
    template = _(
        "training has changed nothing: for a training image, what the model predicts differs less than by rounding to"
        " half precision; raise the learning rate, train for more steps, and check that the trained parts have a"
        " learning rate above 0"
    )
    return Note(Message(template), "W3174")


def _obey(trainee: _Trainee, keeper: PointKeeper, watch: Watch, step: int) -> Iterator[Event]:
    """Do what someone has asked for: previews, or a resume point and a file with the weights of this step."""
    if watch.take("sample"):
        yield from trainee.sample(step)
    if watch.take("save") and step < trainee.last:
        yield from keeper.save(step)
        if not trainee.find_saved(step):
            yield from trainee.save(step, complete=False)


def _resume_phase(phase: Phase, events: Iterator[Event], continues: bool) -> Iterator[Event]:
    """The events; then the phase again, where another one began among them and training continues."""
    is_interrupted = False
    for event in events:
        is_interrupted |= isinstance(event, Phase)
        yield event
    if is_interrupted and continues:
        yield phase


def _save_and_raise(trainee: _Trainee, keeper: PointKeeper, step: int, error: Exception) -> Iterator[Event]:
    """Save a resume point and the weights of `step`, then raise the error with where they are saved."""
    if isinstance(error, HalfUpdate):  # the weights are of two steps, so only the points before are of use
        cause = error.__cause__
        assert isinstance(cause, Exception)
        raise as_memory_error(cause) from error
    known = as_memory_error(error)
    if step <= trainee.first:
        raise known from error
    is_full_disk = isinstance(known, TetradError) and known.code == "E4202"  # this very file could not be written
    try:
        yield from keeper.save(step)
        path = None if is_full_disk else trainee.find_saved(step) or (yield from trainee.save(step, complete=False))
    except Exception:  # the points before are still there, and the first error says what to do
        raise known from error
    if path is None:
        raise known
    if not isinstance(known, TetradError):
        raise error
    raise TetradError(
        known.code,
        _("{reason}; the weights of step {step} are saved in {path}, and --continue-from resumes training from there"),
        reason=known.sentence,
        step=step,
        path=path,
    ) from error
