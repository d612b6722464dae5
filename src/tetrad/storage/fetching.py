"""Downloads files and folders from object storage: each file whole or not at all, and only what has changed."""

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from fsspec.callbacks import Callback

from tetrad.documents import parse_json, read_text_file
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.storage.addresses import get_copy_path
from tetrad.storage.file_systems import explaining_errors, open_storage
from tetrad.storage.patterns import names_several, select_matching
from tetrad.storage.progress import show_download

_VERSIONS = "versions.json"  # beside a copy: the size and the version of each of its files
_AT_ONCE = 8
Versions = Mapping[str, list[Any]]  # by the name of a file: its size, and what changes with its content
_up_to_date: set[Path] = set()


def fetch(address: str) -> Path:
    """The local copy of a file or a folder, downloaded where it is new or has changed; asked once in a process.

    For a pattern it is the pattern of the copies, of those files that exist. E4401 to E4403 where it cannot be fetched;
    an older copy stays as it was, file by file.
    """
    target = get_copy_path(address)
    if target not in _up_to_date:
        folder, pattern = (target.parent, target.name) if names_several(target.name) else (target, "")
        versions_path = folder.parent / _VERSIONS
        versions = download(address, folder, read_record(versions_path), pattern)
        write_record(versions_path, versions)
        _up_to_date.add(target)
    return target


def download(address: str, target: Path, known: Versions, pattern: str = "") -> Versions:
    """Download what is at an address to a path; returns the versions of its files, by their names below the address.

    An address that ends with a `pattern` stands for the files that it names, which are put into the folder `target`.
    Files whose versions are known and that are there already stay; files that were known and are gone are removed.
    """
    with explaining_errors(address):
        storage, place = open_storage(address)
        place = place.removesuffix(pattern)
        found = storage.find(place, detail=True, maxdepth=1 if pattern else None)
        files = {_name_below(place, path): info for path, info in found.items() if not path.endswith("/")}
        if pattern:
            files = {name: files[name] for name in sorted(select_matching(files, pattern))}
        if not files:
            raise FileNotFoundError(address)
        versions = {name: _version_of(info) for name, info in files.items()}
        new = [name for name in files if not _is_there(target / name, versions[name], known.get(name))]
        transfer = _Transfer(address, sum(versions[name][0] for name in new))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            jobs = [
                pool.submit(transfer.get, storage, files[name]["name"], target / name, versions[name][0])
                for name in new
            ]
            try:
                for job in jobs:
                    job.result()
            finally:
                pool.shutdown(cancel_futures=True)
    for name in known.keys() - versions.keys():
        with suppress(OSError):
            (target / name).unlink()
    return versions


def _name_below(place: str, path: str) -> str:
    """The name of a file below a place, "" for the place itself.  E4403 for a name that leads out of the folder."""
    name = path.lstrip("/").removeprefix(place.lstrip("/")).lstrip("/")
    if ".." in PurePosixPath(name).parts or "\\" in name or ":" in name:
        template = _("{address} contains {name}, which cannot be the name of a file here; rename it there")
        raise TetradError("E4403", template, address=place, name=name)
    return name


def _version_of(info: Mapping[str, Any]) -> list[Any]:
    keys = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime", "created")
    return [info["size"], str(next((info[key] for key in keys if info.get(key)), ""))]


def _is_there(path: Path, version: list[Any], known: list[Any] | None) -> bool:
    return known == version and path.is_file() and path.stat().st_size == version[0]


@dataclass
class _Transfer:
    """Files on their way, and how many of their bytes have arrived."""

    address: str
    total: int
    done: int = 0

    def __post_init__(self) -> None:
        self.lock, self.show = Lock(), show_download.get()

    def get(self, storage: Any, place: str, target: Path, size: int) -> None:
        """Download a file under another name, and rename it when it is whole."""
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name[:100]}.{os.getpid()}.part")
        try:
            storage.get_file(place, str(unfinished), callback=_Counter(self.count))
            if (arrived := unfinished.stat().st_size) != size:
                raise OSError(f"{arrived} of {size} bytes arrived")
            os.replace(unfinished, target)
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)

    def count(self, size: int) -> None:
        with self.lock:
            self.done += size
            if self.show:
                self.show(self.address, self.done, self.total)


class _Counter(Callback):  # type: ignore[misc]
    """Passes on the bytes of a file that have arrived."""

    def __init__(self, count: Callable[[int], None]) -> None:
        super().__init__()
        self.count = count

    def relative_update(self, inc: int = 1) -> None:
        self.count(inc)


def read_record(path: Path) -> dict[str, list[Any]]:
    """What `write_record` wrote: a list of values for each file; nothing where it cannot be read."""
    try:
        record = parse_json(read_text_file(path))
    except (OSError, ValueError, TetradError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(path: Path, record: Versions) -> None:
    """Write the record so that nobody ever reads a part of it.  Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(record), "utf-8")
    os.replace(temporary, path)
