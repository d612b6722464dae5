"""Keeps a run in object storage, or in another folder, while it trains; never in the way of a step."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tetrad.errors import TetradError
from tetrad.formats.atomic_write import is_temporary
from tetrad.locales import Message, _
from tetrad.run.events import Event, Note, Phase, PointSaved, Saved
from tetrad.run.folder import RunFolder

if TYPE_CHECKING:
    from tetrad.storage.uploading import FolderUpload

_OF_THE_PROCESS = ("control", "heartbeat")
_LAST_TRIES = 3
_PAUSE_SECONDS = 5.0  # between them


def open_upload(folder: Path, place: str) -> "FolderUpload | None":
    """The upload of a run to its own folder in a place: an address or a path; None for no place."""
    if not place:
        return None
    from tetrad.storage.uploading import FolderUpload  # imports fsspec

    return FolderUpload(folder, f"{place.rstrip('/')}/{folder.name}", _belongs_to_run)


def _belongs_to_run(path: Path) -> bool:
    """Whether a file or folder is of use elsewhere: not what is being written, nor what a running process watches."""
    return not (path.name.startswith(".") or is_temporary(path.name) or path.name in _OF_THE_PROCESS)


def begin_upload(events: Iterator[Event], upload: "FolderUpload | None", is_new: bool) -> Iterator[Event]:
    """The events of a run.  E4404 before the first of them where a new run would be uploaded over another one."""
    if upload and is_new:
        upload.refuse_occupied()
    yield from events


def upload_run(events: Iterator[Event], upload: "FolderUpload | None", folder: RunFolder) -> Iterator[Event]:
    """The recorded events of a run, which is uploaded after each saved file and resume point, and when it has ended.

    An upload that fails is said (W4208), and the next one goes on with the rest. E4405 where the last one fails.
    """
    if upload is None:
        yield from events
        return
    worker = _Worker(upload)
    try:
        for event in events:
            yield event
            if isinstance(event, PointSaved | Saved):
                worker.wake()
            if error := worker.take_error():
                template = _("the run could not be uploaded ({reason}); training continues, and it is tried again")
                note = Note(Message(template, reason=error.sentence), "W4208")
                yield from folder.record(note)
                yield note
    except Exception:
        with suppress(TetradError):
            worker.end()
            upload.update()
        raise
    worker.end()
    yield Phase(Message(_("uploading the run to {address}"), address=upload.address))
    finish_upload(upload)


def finish_upload(upload: "FolderUpload") -> None:
    """Upload what has changed, with several tries.  E4405 where all of them fail."""
    for number in range(1, _LAST_TRIES + 1):
        try:
            return upload.update()
        except TetradError as error:
            if number == _LAST_TRIES:
                template = _(
                    "the run is saved in {folder}, but could not be uploaded to {address} ({reason}); to try again:"
                    " tetrad runs upload {folder}"
                )
                raise TetradError(
                    "E4405", template, folder=upload.folder, address=upload.address, reason=error.sentence
                ) from error
        time.sleep(_PAUSE_SECONDS)


class _Worker:
    """A thread that uploads whenever it is woken; what comes while it works is uploaded afterwards, once."""

    def __init__(self, upload: "FolderUpload") -> None:
        self.upload = upload
        self.error: TetradError | None = None
        self.has_failed = self.is_over = False
        self.work = threading.Event()
        self.thread = threading.Thread(target=self._run, name="upload", daemon=True)
        self.thread.start()

    def wake(self) -> None:
        self.work.set()

    def end(self) -> None:
        """Wait until the current upload has ended."""
        self.is_over = True
        self.work.set()
        self.thread.join()

    def take_error(self) -> TetradError | None:
        """What the upload failed with, once; nothing more until one has succeeded."""
        error, self.error = self.error, None
        return error

    def _run(self) -> None:
        while self.work.wait() and not self.is_over:
            self.work.clear()
            try:
                self.upload.update()
                self.has_failed = False
            except TetradError as error:
                if not self.has_failed:
                    self.error = error
                self.has_failed = True
