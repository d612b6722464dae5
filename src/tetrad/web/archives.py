"""Zip files that people upload: their members are read one by one, within limits that no zip bomb passes."""

import lzma
import stat
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tetrad.data.discover.zip_archives import decode_member_name
from tetrad.errors import TetradError
from tetrad.locales import _

MAX_EXPANDED_BYTES = 8_000_000_000
_MAX_RATIO = 100
_RATIO_COUNTS_FROM = 1 << 20  # bytes; a tiny file of blanks may well shrink to a hundredth
_MAX_MEMBERS = 20_000
_DIRECTORY_BYTES = 16 << 20  # of the list of members, which is read at once
_END_MARK, _END_BYTES, _MAX_COMMENT = b"PK\x05\x06", 22, 65_535
_PIECE = 1 << 20
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(NotImplementedError, EOFError, OSError, RuntimeError, ValueError),
)
_ENCRYPTED = 0x1  # bit of the flags of a member


@dataclass(frozen=True)
class Member:
    """A file in a zip: its name as it stands there, and its content, to be read in pieces."""

    name: str
    pieces: Iterator[bytes]


@contextmanager
def open_archive(path: Path) -> Iterator[Iterator[Member]]:
    """The files in a zip, in order; no folders, links and hidden files.  Each must be read before the next one.

    E4311 for a file that is no zip, is encrypted, or passes a limit: 20,000 members, 8 GB of content, and a content
    of a hundred times its compressed size.
    """
    _check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive, closing(_read_members(archive)) as members:
            yield members
    except _UNREADABLE as error:
        raise TetradError("E4311", _("the zip file cannot be read ({reason}); make it again"), reason=error) from error


def _read_members(archive: zipfile.ZipFile) -> Generator[Member, None, None]:
    total = 0
    for info in archive.infolist():
        name = decode_member_name(info)
        if info.is_dir() or stat.S_ISLNK(info.external_attr >> 16) or _is_hidden(name):
            continue
        if info.flag_bits & _ENCRYPTED:
            raise TetradError(
                "E4311", _("{name} in the zip file has a password; make a zip file without"), name=info.filename
            )
        limit = min(MAX_EXPANDED_BYTES - total, max(_RATIO_COUNTS_FROM, _MAX_RATIO * info.compress_size))
        counted = _CountedPieces(name, limit)
        with archive.open(info) as file:
            yield Member(name, counted.read_pieces(file))
        total += counted.size


class _CountedPieces:
    """Reads a member in pieces and counts what really comes, whatever the zip says about its size."""

    def __init__(self, name: str, limit: int) -> None:
        self.name, self.limit, self.size = name, limit, 0

    def read_pieces(self, file: IO[bytes]) -> Iterator[bytes]:
        while piece := file.read(_PIECE):
            self.size += len(piece)
            if self.size > self.limit:
                template = _(
                    "{name} in the zip file grows to more than a hundred times its size, or all files together to more"
                    " than {limit} GB; upload the images themselves"
                )
                raise TetradError("E4311", template, name=self.name, limit=MAX_EXPANDED_BYTES // 1_000_000_000)
            yield piece


def _is_hidden(name: str) -> bool:
    parts = name.split("/")
    return "__MACOSX" in parts or any(part.startswith(".") and part not in (".", "..") for part in parts)


def _check_directory(path: Path) -> None:
    """E4311 where the list of members is too long to be read at once; it is looked for at the file's end."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END_BYTES - _MAX_COMMENT))
        tail = file.read()
    start = tail.rfind(_END_MARK)
    if start < 0 or len(tail) < start + _END_BYTES:
        raise TetradError("E4311", _("the file is not a zip file; upload a zip file or the images themselves"))
    count = int.from_bytes(tail[start + 10 : start + 12], "little")
    length = int.from_bytes(tail[start + 12 : start + 16], "little")
    is_large = count == 0xFFFF or length == 0xFFFFFFFF  # the numbers are in an older place, which has no limit
    if is_large or count > _MAX_MEMBERS or length > _DIRECTORY_BYTES:
        template = _("the zip file has more than {limit:,} files; upload fewer at once")
        raise TetradError("E4311", template, limit=_MAX_MEMBERS)
