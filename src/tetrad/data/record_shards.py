"""Many small records in few large files, which several processes write at once: the cache of a large data set.

A million files are slow to list, copy and delete. Here each process appends to its own files, so that there is nothing
to lock, and reads those of all. A record that a killed process has not finished is the last one of its file, and is not
read.
"""

import os
import struct
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tetrad.formats.atomic_write import replace_file

_HEAD = struct.Struct("<4s16sI")  # magic, hash of the name, bytes of the content
_MAGIC = b"TrR1"
_SUFFIX, _INDEX_SUFFIX = ".records", ".index"
_FILE_BYTES = 256_000_000  # from which on another file is begun
_MERGED_AT = 50_000  # new places, which take ten times as much memory as merged ones
_OPEN_FILES = 64
_GONE = 2**32 - 1  # the place of a record that was removed
_PLACE = np.dtype([("key", "<u8"), ("file", "<u4"), ("begin", "<u4")])


class _Place(NamedTuple):
    file: int
    begin: int


class RecordShards:
    """Records by name in a folder; the newest of a name counts.  Takes 16 bytes of memory for each.

    Only `put` raises OSError: what cannot be read does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths: list[Path] = []
        self._read_to: list[int] = []  # bytes of each file that are known
        self._merged = np.empty(0, _PLACE)  # sorted by key
        self._new: dict[int, _Place] = {}
        self._own: int | None = None  # the number of the file that this process appends to
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._open = lru_cache(_OPEN_FILES)(_OpenFile)
        self.refresh()

    def __contains__(self, name: str) -> bool:
        """Whether there is a record that is not empty, without reading it."""
        return self._locate(_hash_name(name)) is not None

    def get(self, name: str) -> bytes | None:
        """The content of a record, or None."""
        key = _hash_name(name)
        place = self._locate(key)
        if place is None:
            return None
        with suppress(OSError, struct.error):
            path = self._paths[place.file]
            head = self._open(path).read_at(_HEAD.size, place.begin)
            magic, found, length = _HEAD.unpack(head)
            content = self._open(path).read_at(length, place.begin + len(head))
            if (magic, found, length) == (_MAGIC, key, len(content)):
                return content
        return None

    def put(self, name: str, content: bytes) -> None:
        """Append a record; an empty one means that there is none.  Raises OSError, and then it is not there."""
        key = _hash_name(name)
        with self._lock:
            own = self._begin_file()
            begin, path = self._read_to[own], self._paths[own]
            with path.open("r+b") as file:
                file.seek(begin)  # where an earlier attempt has failed, its beginning is written over
                file.write(_HEAD.pack(_MAGIC, key, len(content)) + content)
            self._read_to[own] += _HEAD.size + len(content)
            self._add(key, _Place(own, begin if content else _GONE))

    def refresh(self) -> None:
        """Find what other processes have written since."""
        with self._lock:
            for path in sorted(self.folder.glob(f"*{_SUFFIX}"), key=_get_time):
                if path not in self._paths:
                    self._paths.append(path)
                    self._read_to.append(0)
            for number, path in enumerate(self._paths):
                if number != self._own:
                    with suppress(OSError):
                        self._read_file(number, path)

    def _locate(self, key: bytes) -> _Place | None:
        number = int.from_bytes(key[:8], "little")
        with self._lock:
            place = self._new.get(number)
            if place is None:
                index = int(np.searchsorted(self._merged["key"], np.uint64(number), "right")) - 1
                if index < 0 or self._merged["key"][index] != number:
                    return None
                place = _Place(int(self._merged["file"][index]), int(self._merged["begin"][index]))
        return place if place.begin != _GONE else None

    def _add(self, key: bytes, place: _Place) -> None:
        self._new[int.from_bytes(key[:8], "little")] = place
        if len(self._new) >= _MERGED_AT:
            self._merge()

    def _merge(self, *further: NDArray[np.void]) -> None:
        """Move the new places, and after them `further` ones, to the merged ones, where the last of a key counts."""
        new = np.array([(key, *place) for key, place in self._new.items()], _PLACE)
        together = np.concatenate([self._merged, new, *further])
        self._merged = together[np.argsort(together["key"], kind="stable")]
        self._new = {}

    def _begin_file(self) -> int:
        """The number of the file that this process appends to; a new one where the last one is full."""
        if self._process != os.getpid():  # a copy of the process that began the file
            self._own, self._process = None, os.getpid()
        if self._own is not None and self._read_to[self._own] >= _FILE_BYTES:
            with suppress(OSError):
                self._write_index(self._own)
            self._own = None
        if self._own is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{uuid.uuid4().hex}{_SUFFIX}"
            path.touch(exist_ok=False)
            self._paths.append(path)
            self._read_to.append(0)
            self._own = len(self._paths) - 1
        return self._own

    def _write_index(self, number: int) -> None:
        """Keep the places of a full file, so that it need not be read for them."""
        self._merge()
        places = self._merged[self._merged["file"] == number]
        content = self._read_to[number].to_bytes(8, "little") + places.tobytes()
        replace_file(self._paths[number].with_suffix(_INDEX_SUFFIX), content, flushes=False)

    def _read_file(self, number: int, path: Path) -> None:
        """Add the records of a file beyond those that are known.  Raises OSError."""
        size = path.stat().st_size
        if self._read_to[number] == 0 and size >= _FILE_BYTES:
            with suppress(OSError, ValueError):
                content = path.with_suffix(_INDEX_SUFFIX).read_bytes()
                places = np.frombuffer(content[8:], _PLACE).copy()
                places["file"] = number
                self._merge(places)
                self._read_to[number] = int.from_bytes(content[:8], "little")
        if self._read_to[number] < size:
            with path.open("rb") as file:
                for key, begin, end in _read_heads(file.fileno(), self._read_to[number], size):
                    is_empty = end - begin == _HEAD.size
                    self._add(key, _Place(number, _GONE if is_empty else begin))
                    self._read_to[number] = end


class _OpenFile:
    """A file that is read at places."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = threading.Lock()

    def read_at(self, size: int, begin: int) -> bytes:
        with self._lock:
            os.lseek(self._descriptor, begin, os.SEEK_SET)
            return os.read(self._descriptor, size)

    def __del__(self) -> None:
        os.close(self._descriptor)


def _read_heads(descriptor: int, begin: int, size: int) -> Iterator[tuple[bytes, int, int]]:
    """The key, begin and end of each whole record."""
    while begin + _HEAD.size <= size:
        os.lseek(descriptor, begin, os.SEEK_SET)
        magic, key, length = _HEAD.unpack(os.read(descriptor, _HEAD.size))
        end = begin + _HEAD.size + length
        if magic != _MAGIC or end > size:
            return
        yield key, begin, end
        begin = end


def _hash_name(name: str) -> bytes:
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _get_time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
