"""An interrupted run to go on with: how it began, its newest whole resume point, and what has changed since."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.models import device as devices
from tetrad.run.events import Event, Note
from tetrad.run.folder import RunFolder
from tetrad.run.resume.identity import IDENTITY_FILE, compare, read_identity, write_identity
from tetrad.run.resume.points import FOLDER, ResumePoint, read_newest_point
from tetrad.run.resume.start import START_FILE, StartRecord, read_start

_SHOWN_CHANGES = 4


@dataclass(frozen=True)
class Resumption:
    """`identity` is None where the run was stopped before it had one."""

    folder: RunFolder
    start: StartRecord
    identity: Mapping[str, Any] | None
    accepts_changes: bool


def open_resumption(path: Path, accepts_changes: bool = False) -> Resumption:
    """The interrupted run in a folder.  E5162 where the folder is not that of a run, E4202 where it is read-only."""
    start = read_start(path)
    folder = RunFolder(path, start.name, start.started)
    folder.check_writable()
    folder.remember("recipe.toml", START_FILE)
    return Resumption(folder, start, read_identity(path), accepts_changes)


def take_point(resumption: Resumption | None) -> Generator[Event, None, ResumePoint | None]:
    """The newest whole point of a resumed run; None for none, and for a run that is not resumed."""
    if resumption is None:
        return None
    folder = resumption.folder
    point, damaged = read_newest_point(folder.path / FOLDER)
    for path, reason in damaged:
        template = _("the resume point {path} is damaged ({reason}) and is skipped")
        yield Note(Message(template, path=path, reason=reason), "W5164")
    if point:
        yield Note(Message(_("resuming {folder} from step {step}"), folder=folder.path, step=point.step))
    else:
        yield Note(Message(_("{folder} has no resume point yet, so it starts again"), folder=folder.path))
    return point


def check_identity(
    identity: Mapping[str, Any], resumption: Resumption | None, point: ResumePoint | None
) -> Iterator[Event]:
    """Compare a resumed run with how it began.

    E5163 for what would make another result, unless it is accepted, and for fewer steps than the point has; W5163 for
    what may only change the last digits, and where it is not known how the run began.
    """
    if resumption is None or point is None:
        return
    folder, steps = resumption.folder, identity["settings"]["train.steps"]
    if point.step > steps:
        template = _(
            "{folder} has trained for {step} steps already, so nothing is left to train with train.steps = {steps}; set"
            " it back in its recipe.toml, or use a file that it has saved"
        )
        raise TetradError("E5163", template, folder=folder.path, step=point.step, steps=steps)
    if resumption.identity is None:
        template = _(
            "{file} is missing or damaged, so whether images, captions, settings or files have changed since the run"
            " began is not known"
        )
        yield Note(Message(template, file=folder.path / IDENTITY_FILE), "W5163")
    else:
        changes = compare(resumption.identity, identity)
        if changes.harmful and not resumption.accepts_changes:
            template = _(
                "{folder} cannot be resumed as it began: {changes}; undo the change, or give --accept-changes to train"
                " on with it"
            )
            raise TetradError("E5163", template, folder=folder.path, changes=_join(changes.harmful))
        if changes.harmful or changes.harmless:
            template = _("the result will not be the same byte for byte as without the interruption: {changes}")
            yield Note(Message(template, changes=_join([*changes.harmful, *changes.harmless])), "W5163")


@contextmanager
def restoring(folder: RunFolder, point: ResumePoint) -> Iterator[None]:
    """Inside this context a point is restored.  E5167 where it does not fit what the run trains."""
    try:
        yield
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        if devices.is_memory_error(error):
            raise
        template = _(
            "the resume point of step {step} of {folder} does not fit what the run trains now; undo what has changed,"
            " or train again with --recipe {recipe}"
        )
        values = {"step": point.step, "folder": folder.path, "recipe": folder.path / "recipe.toml"}
        raise TetradError("E5167", template, **values) from error


def record_identity(folder: RunFolder, identity: Mapping[str, Any], is_resumed: bool, step: int) -> None:
    """Write down what decides the result of the run from now on, when nothing stands in the way of training.

    The steps after `step` are removed from the log of a resumed run, since they are trained again.
    """
    if is_resumed:
        folder.forget_steps_after(step)
    write_identity(folder, identity)


def _join(changes: list[Message]) -> Message:
    """The first changes, one after the other."""
    joined, *others = changes[:_SHOWN_CHANGES]
    for change in others:
        joined = Message(_("{changes}; {change}"), changes=joined, change=change)
    return Message(_("{changes}; …"), changes=joined) if len(changes) > _SHOWN_CHANGES else joined
