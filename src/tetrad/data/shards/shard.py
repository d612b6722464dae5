"""A file that holds the files of many images: their names, and the bytes of each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from tetrad.data.shards.table_shard import TABLE_SUFFIXES, read_table_shard
from tetrad.data.shards.tar_shard import read_tar_shard
from tetrad.locales import Message

TAR_SUFFIX = ".tar"
SHARD_SUFFIXES = (TAR_SUFFIX, *TABLE_SUFFIXES)


class Shard(Protocol):
    """The files of a shard in their order: the name of each, and its size in bytes, 0 where it is not known.

    `damage` and the reasons in `bad_names` are whole clauses.
    """

    @property
    def members(self) -> Mapping[str, int]: ...
    @property
    def damage(self) -> Message | None: ...
    @property
    def bad_names(self) -> tuple[tuple[str, Message], ...]: ...

    def read_member(self, name: str) -> bytes:
        """The bytes of a file.  Raises KeyError where there is none of this name, and OSError."""


def is_shard_name(name: str) -> bool:
    """Whether a file of this name is a shard."""
    return name.lower().endswith(SHARD_SUFFIXES)


def read_shard(path: Path) -> Shard:
    """What a shard holds, read again only when the file has changed.

    Raises OSError, and E4184 for a table where the package that reads it is missing.
    """
    state = path.stat()
    read = read_tar_shard if path.suffix.lower() == TAR_SUFFIX else read_table_shard
    return read(str(path), state.st_size, state.st_mtime_ns)
