"""Write caption files as one change, all or none; a journal keeps what the files were, so that it can be undone."""

import json
import time
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.data.captions.caption_files import CAPTION_SUFFIXES, BadCaption, read_caption_file
from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import replace_file, stage_replacement
from tetrad.locales import _


@dataclass(frozen=True)
class FileChange:
    """The content of a caption file before and after a change; None: there was no file."""

    path: Path
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True)
class Change:
    """Caption files that were written together."""

    id: str
    title: str  # what was done: "replace cat dog"
    time: float  # Unix time
    files: tuple[FileChange, ...]


class CaptionJournal:
    """The changes of the caption files in the folder `root`, kept in the file `path`."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path = path
        self.root = root

    def write(self, contents: Mapping[Path, bytes], title: str) -> None:
        """Write caption files as one change.  E4202 where one cannot be written; then none is changed.

        The journal is written first, so that a change can be undone even if it was interrupted.
        """
        change = Change(
            uuid.uuid4().hex,
            title,
            time.time(),
            tuple(FileChange(path, _read_bytes(path), content) for path, content in contents.items()),
        )
        self._append(self._as_record(change))
        try:
            _replace_all(contents)
        except OSError as error:
            for file in change.files:
                _restore(file)
            self._append({"undone": change.id})
            raise _unwritable_error(error.filename or self.root, error) from error

    def list_changes(self) -> list[Change]:
        """The changes that can be undone, the last one first."""
        records = list(self._read_records())
        undone = {record["undone"] for record in records if "undone" in record}
        changes = [change for record in records if "files" in record and (change := self._as_change(record))]
        return [change for change in reversed(changes) if change.id not in undone]

    def last_change(self) -> Change:
        """The change that `undo` undoes.  E4305 where there is none."""
        changes = self.list_changes()
        if not changes:
            raise TetradError("E4305", _("there is no change of captions left to undo"))
        return changes[0]

    def undo(self, change: Change) -> None:
        """Put back what the files were, except those that were changed since.  E4202 where one cannot be written."""
        changed_since = find_changed_since(change)
        try:
            for file in change.files:
                if file.path not in changed_since:
                    _put(file.path, file.before)
        except OSError as error:
            raise _unwritable_error(error.filename or self.root, error) from error
        self._append({"undone": change.id})

    def _append(self, record: Mapping[str, Any]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"\n{json.dumps(record)}")  # in front, because the last line may be half written
        except OSError as error:
            raise _unwritable_error(self.path, error) from error

    def _read_records(self) -> Iterator[dict[str, Any]]:
        """The records of the journal; a half-written line was no change yet, because the files are written after it."""
        for line in self.path.read_text("utf-8").splitlines() if self.path.is_file() else ():
            with suppress(ValueError):
                record = parse_json(line)
                if isinstance(record, dict):
                    yield record

    def _as_record(self, change: Change) -> dict[str, Any]:
        files = {
            file.path.relative_to(self.root).as_posix(): [_encode(file.before), _encode(file.after)]
            for file in change.files
        }
        return {"id": change.id, "title": change.title, "time": change.time, "files": files}

    def _as_change(self, record: Mapping[str, Any]) -> Change | None:
        """The change of a record; None for one that this class did not write, such as one for files elsewhere."""
        try:
            files = tuple(
                FileChange(self.root / place, _decode(before), _decode(after))
                for place, (before, after) in record["files"].items()
            )
            if not all(self._is_caption_file(file.path) for file in files):
                return None
            return Change(str(record["id"]), str(record["title"]), float(record["time"]), files)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def _is_caption_file(self, path: Path) -> bool:
        is_inside = path.parent.resolve().is_relative_to(self.root.resolve())
        return is_inside and path.suffix in CAPTION_SUFFIXES


def find_changed_since(change: Change) -> list[Path]:
    """The files of a change that are neither as they were after it nor as before."""
    return [file.path for file in change.files if _read_bytes(file.path) not in (file.after, file.before)]


def find_caption_file(image: Path) -> Path:
    """The caption file that is read for an image, or the one to write where it has none."""
    for suffix in CAPTION_SUFFIXES:
        try:
            if read_caption_file(image.with_suffix(suffix))[0]:
                return image.with_suffix(suffix)
        except BadCaption:
            continue
    return image.with_suffix(".txt")


def _replace_all(contents: Mapping[Path, bytes]) -> None:
    """Write all files beside their targets before the first is put in its place.  Raises OSError."""
    with ExitStack() as stack:
        for path, content in contents.items():
            stack.enter_context(stage_replacement(path)).write_bytes(content)


def _restore(file: FileChange) -> None:
    """Put a file back after an error; where the disk refuses that too, the journal still has its content."""
    with suppress(OSError):
        if _read_bytes(file.path) == file.after:
            _put(file.path, file.before)


def _put(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    elif _read_bytes(path) != content:
        replace_file(path, content)


def _read_bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _encode(content: bytes | None) -> str | None:
    return None if content is None else b64encode(content).decode()


def _decode(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)


def _unwritable_error(path: str | Path, error: OSError) -> TetradError:
    template = _("{path} cannot be written ({reason}); choose another folder")
    return TetradError("E4202", template, path=path, reason=error.strerror)
