"""A configuration of another trainer while it is read: its keys, what becomes of each, and the recipe that results."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from tetrad.errors import TetradError
from tetrad.given_paths import locate_given
from tetrad.interchange.folders import Folders
from tetrad.interchange.pictures import Bucket, Pictures, one_size
from tetrad.locales import Message, _
from tetrad.paths import is_pattern

Value = Any
FOLDERS = "data.folders"
_WORDS = {"true": True, "false": False}


class Outcome(StrEnum):
    """What becomes of a key."""

    MAPPED = "mapped"
    EQUAL = "equal by default"
    MEANINGLESS = "has no meaning here"
    NOT_DONE = "not done"


class Entry(NamedTuple):
    """A key of the file."""

    shown: str  # as the file spells it
    value: Value
    given: Value = None  # what the file has, where `value` is what its trainer makes of it


@dataclass(frozen=True)
class Row:
    """What became of a key: the settings that it was mapped to, or why there are none."""

    key: str
    value: Value
    outcome: Outcome
    settings: Mapping[str, Value] = field(default_factory=dict)
    reason: Message | None = None
    is_given: bool = True  # not the other trainer's default for a key that the file leaves out


class MissingFile(NamedTuple):
    """A file or folder that a configuration names and that is not there; `setting` is "" for none."""

    key: str
    value: str
    setting: str = ""


class Job:
    """Collects what becomes of each key.  `entries` are the file's keys by the names that the trainer's table has."""

    def __init__(self, trainer: str, path: Path, entries: Mapping[str, Entry], base: str = "") -> None:
        self.trainer, self.path, self.entries = trainer, path, dict(entries)
        self.base = base  # the script or training method
        self.rows: dict[str, Row] = {}
        self.settings: dict[str, Value] = {}
        self.notes: list[Message] = []
        self.errors: list[TetradError] = []
        self.failures: list[Message] = []  # why the file does not start in its own trainer
        self.missing: list[MissingFile] = []
        self.implied: set[str] = set()  # entries that do not stand in the file, but that its trainer adds
        self.folders = Folders()
        self.pictures: Pictures | None = None  # None where the folder of images does not exist
        self.has_plain_folder = False  # images are in the folder itself, not in folders named like 10_zkr
        self.plain_repeats = 0  # repeats of the images of such a folder, where its trainer chooses them
        self.bucket: Bucket = one_size  # the shape that an image is cut to
        self.resolutions = 1  # at which each image is used, so that an epoch here is as much longer
        self.epoch_steps = 0  # updates in an epoch, where it is known

    def get(self, name: str) -> Value:
        """The value of a key; None where it is not given or empty."""
        value = self.entries[name].value if name in self.entries else None
        return None if isinstance(value, str) and not value.strip() else value

    def number(self, name: str, default: float | None = None) -> float | None:
        """A number, also where the file has it as text; infinity and NaN are none."""
        value = self.get(name)
        if value is None:
            return default
        try:
            number = float(value)
            if value is True or not math.isfinite(number):
                raise TypeError
            return number
        except (TypeError, ValueError):
            self.fail(name, Message(_("a number")))
            return default

    def whole(self, name: str, default: int = 0) -> int:
        """A whole number; 4.0 and "4" are 4."""
        found = self.number(name, default)
        return int(found or 0)

    def flag(self, name: str) -> bool:
        """Whether a switch is on."""
        value = self.get(name)
        return _WORDS.get(value.lower(), True) if isinstance(value, str) else bool(value)

    def word(self, name: str, default: str = "") -> str:
        value = self.get(name)
        return default if value is None else str(value)

    def fail(self, name: str, expected: Message) -> None:
        """Note E3163: a value is not what it must be."""
        template = _("{key} is {value} in {file}, but it must be {expected}")
        entry = self.entries[name]
        values = {"key": entry.shown, "value": repr(entry.value), "file": self.path.name, "expected": expected}
        self.refuse(name, TetradError("E3163", template, **values))

    def refuse(self, name: str, error: TetradError) -> None:
        """Note an error about the value of a key."""
        if error.sentence not in [each.sentence for each in self.errors]:
            self.errors.append(error)
        self.leave(name, error.sentence)

    def get_shown_name(self, name: str) -> str:
        return self.entries[name].shown if name in self.entries else name

    def imply(self, name: str, value: Value) -> None:
        """Add a key that the trainer adds to the file's."""
        self.entries[name] = Entry(name, value)
        self.implied.add(name)

    def set_aside(self, name: str, reason: Message) -> None:
        """Keep a key of the file in the report although another one stands for it."""
        entry = self.entries.pop(name, None)
        if entry is None or name in self.implied:
            return
        kept = f"{name} (set aside)"
        self.entries[kept] = entry
        self._put(kept, Outcome.MEANINGLESS, {}, reason)

    def rename(self, old: str, new: str, value: Value) -> None:
        """Read a key under another name and with another value, as its trainer does; it is shown as it stands."""
        given = self.entries[old]
        self.set_aside(new, Message(_("{key} comes first"), key=given.shown))
        entry = Entry(given.shown, value, given.value if given.given is None else given.given)
        self.entries = {
            (new if name == old else name): (entry if name == old else each) for name, each in self.entries.items()
        }

    def map(self, name: str, settings: Mapping[str, Value], reason: Message | None = None) -> None:
        """The key becomes these settings."""
        of_run, of_folder = self.folders.sort(settings)
        self.settings |= of_run
        shown = of_run | ({FOLDERS: of_folder} if of_folder else {})
        self._put(name, Outcome.MAPPED, shown, reason)

    def finish_folders(self) -> None:
        """Make the tables of further folders."""
        if tables := self.folders.make_tables(self.settings):
            self.settings[FOLDERS] = tables

    def equal(self, name: str, reason: Message | None = None) -> None:
        """The key asks for what Tetrad does anyway."""
        self._put(name, Outcome.EQUAL, {}, reason)

    def skip(self, name: str, reason: Message) -> None:
        """The key has no meaning here."""
        self._put(name, Outcome.MEANINGLESS, {}, reason)

    def leave(self, name: str, reason: Message) -> None:
        """The key asks for something that is not done."""
        self._put(name, Outcome.NOT_DONE, {}, reason)

    def _put(self, name: str, outcome: Outcome, settings: Mapping[str, Value], reason: Message | None) -> None:
        entry, is_given = self.entries.get(name), name in self.entries and name not in self.implied
        if entry or settings:
            value = (entry.value if entry.given is None else entry.given) if entry else None
            self.rows[name] = Row(self.get_shown_name(name), value, outcome, dict(settings), reason, is_given)

    def take_path(self, name: str, setting: str) -> None:
        """A key with the path of a file becomes a setting; a file that is not there is remembered."""
        value = self.get(name)
        if isinstance(value, list | dict | bool):
            self.fail(name, Message(_("the path of a file or folder")))
        elif value:
            self.map(name, {setting: str(value)})
            self.look_for(name, FOLDERS if self.folders.current > 0 else setting)

    def look_for(self, name: str, setting: str = "") -> None:
        """Remember a file that a key names and that is not there; `setting` is what replaces it on the command line."""
        value = str(self.get(name) or "")
        try:
            path = locate_given(value) if value else None
        except TetradError as error:
            self.refuse(name, error)
            return
        if path and not path.exists() and not is_pattern(path):
            self.missing.append(MissingFile(self.get_shown_name(name), value, setting))

    def find_folder(self, name: str) -> Path | None:
        """The folder that a key names, also a built-in one; None if it does not exist or was not fetched yet."""
        value = self.get(name)
        try:
            path = locate_given(str(value)) if value else None
        except TetradError:  # `look_for` says so
            return None
        return path if path and path.is_dir() else None

    def list_rows(self) -> Iterator[Row]:
        """What became of each key in the file's order, then the trainer's defaults that are written into the recipe."""
        yield from (self.rows[name] for name in self.entries if name in self.rows)
        yield from (row for name, row in self.rows.items() if name not in self.entries)


Rule = Callable[[Job, str], None]


def table_name(name: str) -> str:
    """The name of a key in a trainer's table: without the numbers of lists."""
    return re.sub(r"\[\d+\]", "", name)
