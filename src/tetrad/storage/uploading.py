"""Keeps a folder in object storage up to date: each file there is whole, and listed files of a group come last."""

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.storage.addresses import is_address
from tetrad.storage.fetching import download, read_record, write_record
from tetrad.storage.file_systems import explaining_errors, open_storage

UPLOADED = ".uploaded.json"  # in the folder: the size and the time of each file as it was uploaded
_MANIFEST = "manifest.json"  # says that the files beside it are complete


class FolderUpload:
    """A folder and its copy at an address or, where that is a path, in another folder."""

    def __init__(self, folder: Path, address: str, is_wanted: Callable[[Path], bool]) -> None:
        self.folder, self.address, self.is_wanted = folder, address.rstrip("/"), is_wanted
        self.uploaded = read_record(folder / UPLOADED)

    def refuse_occupied(self) -> None:
        """E4404 where there is something at the address already."""
        with explaining_errors(self.address):
            storage, place = open_storage(self.address)
            with suppress(FileNotFoundError):
                if storage.find(place, maxdepth=2):
                    template = _(
                        "{address} has files already; give the run another name with --name, or continue the run there"
                        " with: tetrad resume {address}"
                    )
                    raise TetradError("E4404", template, address=self.address)

    def update(self) -> None:
        """Upload what has changed since the last time, then remove there what is gone here.

        A file that vanishes meanwhile is left out. E4401 to E4403 where it fails; what is uploaded stays, and the
        next call goes on with the rest.
        """
        with explaining_errors(self.address):
            storage, place = open_storage(self.address)
            present = {path.relative_to(self.folder).as_posix(): path for path in self._list_files()}
            for name in sorted(present, key=_rank):
                self._upload_if_changed(storage, place, name, present[name])
            for name in [name for name in self.uploaded if name not in present]:
                with suppress(FileNotFoundError):
                    storage.rm_file(f"{place}/{name}")
                del self.uploaded[name]
                self._remember()

    def _list_files(self) -> Iterable[Path]:
        for root, folders, files in os.walk(self.folder):
            folders[:] = [name for name in folders if self.is_wanted(Path(root, name))]
            yield from (path for path in (Path(root, name) for name in files) if self.is_wanted(path))

    def _upload_if_changed(self, storage: Any, place: str, name: str, path: Path) -> None:
        try:
            state = path.stat()
            version = [state.st_size, state.st_mtime_ns]
            if self.uploaded.get(name) == version:
                return
            _upload_whole(storage, path, f"{place}/{name}", is_address(self.address))
        except FileNotFoundError:
            if path.exists():  # then it is the bucket that does not exist
                raise
            return
        self.uploaded[name] = version
        self._remember()

    def _remember(self) -> None:
        write_record(self.folder / UPLOADED, self.uploaded)


def download_folder(address: str, target: Path) -> None:
    """Download an uploaded folder, whole or not at all; an upload to the same address goes on from there."""
    unfinished = target.with_name(f".{target.name[:100]}.{os.getpid()}.part")
    try:
        names = download(address, unfinished, {})
        states = {name: (unfinished / name).stat() for name in names}
        uploaded = {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()}
        write_record(unfinished / UPLOADED, uploaded)
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _rank(name: str) -> tuple[bool, bool, str]:
    """Weights and images first, then what says that they are there: logs, and the manifest of a resume point."""
    return name.endswith(".jsonl"), name.endswith(_MANIFEST), name


def _upload_whole(storage: Any, path: Path, target: str, is_object_storage: bool) -> None:
    """Upload a file so that nobody ever sees a part of it.

    Object storage shows an object when it is complete; in a folder, the file gets its name then. A log is read before
    it is uploaded, because it may grow meanwhile.
    """
    if is_object_storage and path.suffix == ".jsonl":
        storage.pipe_file(target, path.read_bytes())
    elif is_object_storage:
        storage.put_file(str(path), target)
    else:
        storage.makedirs(str(Path(target).parent), exist_ok=True)
        unfinished = str(Path(target).with_name(f".{Path(target).name[:100]}.part"))
        storage.put_file(str(path), unfinished)
        os.replace(unfinished, target)
