"""The data sets of the page: folders of images under `--data`, and folders of people's own, which are only read."""

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tetrad.data.captions.caption_files import CAPTION_SUFFIXES
from tetrad.data.captions.metadata_files import METADATA_FILE_NAMES
from tetrad.data.discover.image_files import IMAGE_SUFFIXES, list_files
from tetrad.documents import parse_json, read_text_file
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import replace_file, stage_replacement
from tetrad.installation import make_safe_stem
from tetrad.locales import _
from tetrad.web.file_names import UNUSABLE_SUFFIXES, FileNames

HIDDEN = ".tetrad"  # the folder in a set for what is no image; hidden, so that training does not look into it
_SET = "set.json"


@dataclass
class DataSet:
    """A set of images with captions, masks and crops.

    `source` is a folder that a person points to: it is never changed. The first edit copies its images into the set,
    unless the person has chosen to have captions and masks written beside the images.
    """

    folder: Path
    name: str
    created: float  # Unix time
    source: Path | None = None
    writes_beside: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _known: dict[str, Path] = field(default_factory=dict, repr=False)  # paths by id

    @cached_property
    def names(self) -> FileNames:
        """What the files were called when they came."""
        return FileNames(self.hidden / "originals.jsonl")

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def images(self) -> Path:
        """The folder with the images, to train on."""
        return self.source or self.folder

    @property
    def hidden(self) -> Path:
        return self.folder / HIDDEN

    def path_of(self, image: str) -> Path:
        """The file with an id.  E4303 where the set has none with it."""
        path = self._known.get(image)
        if path is None or not path.is_file() or not path.is_relative_to(self.images):
            self._known = {self.id_of(path): path for path in self.list_paths()}
            path = self._known.get(image)
        if path is None:
            template = _("{name} has no image {image}; it was removed")
            raise TetradError("E4303", template, name=self.name, image=image)
        return path

    def id_of(self, path: Path) -> str:
        """A short name for addresses, which leads to no path: of the file's place in the set."""
        place = path.relative_to(self.images).as_posix()
        return hashlib.blake2b(place.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()

    def list_paths(self) -> list[Path]:
        """All visible files of the set: images, captions and masks."""
        return list_files(self.images)[0]

    def name_of(self, path: Path) -> str:
        """What the file was called when it came, for people."""
        place = path.relative_to(self.images).as_posix()
        return self.names.originals.get(place, place)

    def prepare_edit(self) -> None:
        """Copy the images of the source into the set, before the first edit; `images` is another folder then.

        A copy shares its content on the disk where the system can do that (a hard link); nothing writes into it. On
        another disk it takes its time, so every edit belongs into a thread. Raises OSError.
        """
        with self.lock:
            if self.source is None or self.writes_beside:
                return
            source = self.source
            for path in filter(belongs_to_images, self.list_paths()):
                target = self.folder / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    link_or_copy(path, target)
                if (place := path.relative_to(source).as_posix()) not in self.names.originals:
                    self.names.add(place, place)
            self.source = None
            self.save()

    def save(self) -> None:
        """Write what the set is.  Raises OSError."""
        self.hidden.mkdir(parents=True, exist_ok=True)
        values = {
            "name": self.name,
            "created": self.created,
            "source": str(self.source) if self.source else "",
            "writes_beside": self.writes_beside,
        }
        replace_file(self.hidden / _SET, json.dumps(values).encode())


class DataSets:
    """The data sets in a folder, which is made when the first one is."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._opened: dict[str, DataSet] = {}

    def create(self, name: str, source: Path | None = None, writes_beside: bool = False) -> DataSet:
        """A new set: empty, or of the images in a folder of the person's own.

        E4304 where that folder does not exist, E4202 where the set's cannot be made.
        """
        if source is not None and not source.is_dir():
            raise TetradError("E4304", _("there is no folder {path}; give a folder of images"), path=source)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            folder = self._make_folder(make_safe_stem(name))
            data_set = DataSet(folder, name, time.time(), source, writes_beside)
            data_set.save()
        except OSError as error:
            template = _("{folder} cannot be written to ({reason}); choose another folder with --data")
            raise TetradError("E4202", template, folder=self.root, reason=error.strerror) from error
        self._opened[data_set.id] = data_set
        return data_set

    def open(self, id: str) -> DataSet:
        """The set with an id.  E4304 where there is none."""
        if found := self._opened.get(id):
            if found.folder.is_dir():
                return found
            self._opened.pop(id, None)
        if id in self._list_ids():
            opened = self._opened[id] = _read_data_set(self.root / id)
            return opened
        raise TetradError("E4304", _("there is no data set {id}; it was removed"), id=id)

    def list(self) -> list[DataSet]:
        """All sets, the newest first."""
        found = []
        for id in list(self._list_ids()):
            with suppress(TetradError):  # it was removed meanwhile
                found.append(self.open(id))
        return sorted(found, key=lambda each: each.created, reverse=True)

    def remove(self, id: str) -> None:
        """Remove a set with its images; a folder that a person points to stays."""
        shutil.rmtree(self.open(id).folder, ignore_errors=True)
        self._opened.pop(id, None)

    def _list_ids(self) -> Iterator[str]:
        paths = self.root.iterdir() if self.root.is_dir() else ()
        return (path.name for path in paths if (path / HIDDEN / _SET).is_file() and not path.is_symlink())

    def _make_folder(self, stem: str) -> Path:
        for number in range(1, 10_000):
            folder = self.root / (stem if number == 1 else f"{stem}-{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
        raise FileExistsError(0, "9999 sets of this name", str(self.root / stem))


def _read_data_set(folder: Path) -> DataSet:
    """The set in a folder; what cannot be read of it has its default."""
    try:
        values: dict[str, Any] = parse_json(read_text_file(folder / HIDDEN / _SET))
    except (OSError, ValueError):
        values = {}
    source = Path(values["source"]) if values.get("source") else None
    created = values.get("created")
    if not isinstance(created, int | float):
        created = folder.stat().st_mtime if folder.exists() else 0.0
    return DataSet(folder, str(values.get("name", folder.name)), created, source, bool(values.get("writes_beside")))


def belongs_to_images(path: Path) -> bool:
    """Whether a file is an image, also one that cannot be used, a caption, a mask or metadata, by its name."""
    suffixes = IMAGE_SUFFIXES | {*UNUSABLE_SUFFIXES, *CAPTION_SUFFIXES}
    return path.suffix.lower() in suffixes or path.suffix in suffixes or path.name.lower() in METADATA_FILE_NAMES


def link_or_copy(path: Path, target: Path) -> None:
    """Another name for the same content, or a copy of it, which is there completely or not at all.  Raises OSError."""
    try:
        os.link(path, target)
    except OSError:
        with stage_replacement(target) as staged:
            shutil.copy2(path, staged)
