"""The path of a file in a shard, such as `shards/000.tar/a.png`, which is opened like any other."""

import errno
import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tetrad.data.shards.shard import SHARD_SUFFIXES, read_shard
from tetrad.documents import open_regular

_SHARD_END = re.compile("|".join(f"{re.escape(suffix)}/" for suffix in SHARD_SUFFIXES), re.IGNORECASE)


class MemberPath(type(Path())):  # type: ignore[misc]  # as `Path` itself has no subclasses before Python 3.12
    """A path inside a shard; `with_name`, `with_suffix` and `parent` give other paths of this kind.

    Everything is found again from the path itself, so a million of them take no more memory than other paths. What asks
    the system about such a path, as `os.stat` does, is told that there is no such file.
    """

    __slots__ = ()

    @property
    def shard(self) -> Path:
        """The shard that the file is in."""
        return Path(self._split()[0])

    @property
    def shown_name(self) -> str:
        """The name of the shard and the file, for messages."""
        shard, member = self._split()
        return f"{Path(shard).name}/{member}"

    def open(self, *_args: Any, **_options: Any) -> BinaryIO:
        """The file's bytes, to be read.  Raises FileNotFoundError, and OSError for a shard that cannot be read."""
        shard, member = self._split()
        try:
            return io.BytesIO(read_shard(Path(shard)).read_member(member))
        except KeyError:
            raise self._missing_error() from None

    def read_bytes(self) -> bytes:
        with self.open() as file:
            return file.read()

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        shard, member = self._split()
        state, size = Path(shard).stat(), read_shard(Path(shard)).members.get(member)
        if size is None:
            raise self._missing_error()
        return os.stat_result((stat.S_IFREG | 0o444, *state[1:6], size, *state[7:10]))

    def is_file(self) -> bool:
        try:
            return stat.S_ISREG(self.stat().st_mode)
        except OSError:
            return False

    def exists(self) -> bool:
        return self.is_file()

    def is_dir(self) -> bool:
        return False

    def iterdir(self) -> Iterator["MemberPath"]:
        """The files of the shard that are directly in this folder; the shard is the folder of those without one."""
        shard, folder = self._split()
        prefix = f"{folder}/" if folder else ""
        for name in read_shard(Path(shard)).members:
            if name.startswith(prefix) and "/" not in name[len(prefix) :]:
                yield MemberPath(f"{shard}/{name}")

    def _split(self) -> tuple[str, str]:
        """The shard, and the name in it.  Folders may be named like shards, so the first file counts."""
        whole = self.as_posix()
        for end in _SHARD_END.finditer(whole):
            shard = whole[: end.end() - 1]
            if os.path.isfile(shard):
                return shard, whole[end.end() :]
        return whole, ""

    def _missing_error(self) -> FileNotFoundError:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading, in a shard or not.  Raises OSError, also for a pipe, which might never end."""
    return path.open("rb") if isinstance(path, MemberPath) else open_regular(path)


def is_any_file(path: Path) -> bool:
    """Whether there is anything but a folder of this name, also a broken link.  Never raises."""
    if isinstance(path, MemberPath):
        return path.is_file()
    return os.path.lexists(path) and not path.is_dir()  # Path.exists raises an error if the name is too long


def get_shown_name(path: Path) -> str:
    """The name of a file for messages, with its shard."""
    return path.shown_name if isinstance(path, MemberPath) else path.name
