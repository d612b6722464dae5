"""A Parquet or Arrow file as a shard: each row is an image and its caption, named after the number of the row."""

import errno
import threading
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import PurePath
from typing import Any

from tetrad.errors import TetradError
from tetrad.locales import Message, _

TABLE_SUFFIXES = (".parquet", ".arrow")
_IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp", "picture")
_CAPTION_COLUMNS = ("text", "caption", "prompt", "txt")
_KEPT, _KEPT_GROUPS = 16, 2  # files, and groups of rows of each, which are read one after the other
_SIGNATURES = {b"\xff\xd8\xff": ".jpg", b"\x89PN": ".png", b"RIF": ".webp", b"GIF": ".gif"}


@dataclass(frozen=True)
class TableShard:
    """The rows of a table as files: `00000012.jpg` and `00000012.txt` are the image and the caption of row 12."""

    members: Mapping[str, int]
    read_row: Callable[[int, bool], bytes]  # the image of a row, or its caption
    damage: Message | None = None
    bad_names: tuple[tuple[str, Message], ...] = ()

    def read_member(self, name: str) -> bytes:
        """The bytes of a file.  Raises KeyError, and OSError for a part of the table that is damaged."""
        if name not in self.members:
            raise KeyError(name)
        path = PurePath(name)
        return self.read_row(int(path.stem), path.suffix != ".txt")


@lru_cache(_KEPT)
def read_table_shard(path: str, _size: int, _changed: int) -> TableShard:
    """The rows of a file of this size, changed at this time.  OSError, and E4184 where pyarrow is missing."""
    try:
        import pyarrow
    except ImportError as error:
        template = _(
            "{path} needs the package pyarrow (in Tetrad's folder: python -m pip install -c constraints.txt -e"
            ' ".[parquet]")'
        )
        raise TetradError("E4184", template, path=path) from error
    try:
        table = _Parquet(path) if path.lower().endswith(".parquet") else _Arrow(path)
        return _make_shard(table)
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        damage = Message(_("it is cut off, damaged or another kind of file; copy it again"))
        return TableShard({}, _read_nothing, damage)


def _make_shard(table: "_Table") -> TableShard:
    image = next((name for name in (*_IMAGE_COLUMNS, *table.columns) if table.holds_images(name)), "")
    caption = next((name for name in _CAPTION_COLUMNS if table.columns.get(name) in ("string", "large_string")), "")
    if not image:
        columns = ", ".join(table.columns)
        reason = Message(_("it has no column with the bytes of images, only {columns}"), columns=columns)
        return TableShard({}, _read_nothing, reason)
    members: dict[str, int] = {}
    usual = _find_suffix(table.read_cell(image, 0)) if table.rows else ""
    for row in range(table.rows):
        members[f"{row:08}{usual}"] = 0
        if caption:
            members[f"{row:08}.txt"] = 0

    def read_row(row: int, is_image: bool) -> bytes:
        import pyarrow

        try:
            return table.read_cell(image if is_image else caption, row)
        except pyarrow.ArrowException as error:
            raise OSError(errno.EIO, str(Message(_("this part of the file is damaged")))) from error

    return TableShard(members, read_row)


def _read_nothing(row: int, _is_image: bool) -> bytes:
    raise KeyError(row)


def _find_suffix(content: bytes) -> str:
    return _SIGNATURES.get(content[:3], ".png")


class _Table:
    """Rows of named columns, in groups that are read at once."""

    rows: int
    columns: Mapping[str, str]  # the type of each
    group_ends: Sequence[int]

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups = lru_cache(2 * _KEPT_GROUPS)(self.read_group)  # of images, and of captions

    def holds_images(self, column: str) -> bool:
        """Whether a column has bytes, or `datasets`' image: {bytes, path}."""
        kind = self.columns.get(column, "")
        return kind in ("binary", "large_binary") or (kind.startswith("struct<") and "bytes: " in kind)

    def read_cell(self, column: str, row: int) -> bytes:
        """The bytes of a row of a column; b"" where it has none."""
        group = bisect_right(self.group_ends, row)
        begin = self.group_ends[group - 1] if group else 0
        with self._lock:
            values = self._groups(column, group)
        value = values[row - begin].as_py()
        if isinstance(value, dict):
            value = value.get("bytes")
        return value.encode() if isinstance(value, str) else value or b""

    def read_group(self, column: str, group: int) -> Any:
        raise NotImplementedError


class _Parquet(_Table):
    def __init__(self, path: str) -> None:
        from pyarrow import parquet

        super().__init__()
        self._file = parquet.ParquetFile(path)
        metadata = self._file.metadata
        self.rows = metadata.num_rows
        self.columns = {field.name: str(field.type) for field in self._file.schema_arrow}
        self.group_ends = list(accumulate(metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)))

    def read_group(self, column: str, group: int) -> Any:
        return self._file.read_row_group(group, columns=[column]).column(0)


class _Arrow(_Table):
    """Its pages are read when they are used."""

    def __init__(self, path: str) -> None:
        import pyarrow
        from pyarrow import ipc

        super().__init__()
        source = pyarrow.memory_map(path)
        try:
            self._batches = ipc.open_stream(source).read_all().to_batches()
        except pyarrow.ArrowInvalid:
            self._batches = ipc.open_file(source).read_all().to_batches()
        schema = self._batches[0].schema if self._batches else []
        self.columns = {field.name: str(field.type) for field in schema}
        self.group_ends = list(accumulate(batch.num_rows for batch in self._batches))
        self.rows = self.group_ends[-1] if self.group_ends else 0

    def read_group(self, column: str, group: int) -> Any:
        return self._batches[group].column(column)
