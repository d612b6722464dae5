"""A tar file as a shard: where each of its files begins is found by reading its headers once."""

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from tetrad.data.discover.member_names import describe_bad_name
from tetrad.documents import open_regular
from tetrad.locales import Message, _

_KEPT = 16  # shards are read one after the other
_BLOCK = tarfile.BLOCKSIZE
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstandard
_COPY_AGAIN = _("it ends in the middle of {member}, so what follows is missing; copy it again")


@dataclass(frozen=True)
class TarShard:
    """The files of a tar file by name: their sizes, and where they begin."""

    path: str
    members: Mapping[str, int]
    offsets: Mapping[str, int]
    damage: Message | None = None
    bad_names: tuple[tuple[str, Message], ...] = ()

    def read_member(self, name: str) -> bytes:
        """The bytes of a file.  Raises KeyError and OSError."""
        begin, size = self.offsets[name], self.members[name]
        with open_regular(Path(self.path)) as file:
            file.seek(begin)
            return file.read(size)


@lru_cache(_KEPT)
def read_tar_shard(path: str, size: int, _changed: int) -> TarShard:
    """The files of a tar file of this size, changed at this time.  Raises OSError."""
    members: dict[str, int] = {}
    offsets: dict[str, int] = {}
    bad_names: list[tuple[str, Message]] = []
    with open(path, "rb") as file:  # noqa: PTH123 - the key of the cache is a text
        if file.read(8).startswith(_COMPRESSED):
            return TarShard(
                path, {}, {}, Message(_("it is compressed, so images cannot be read from it; decompress it"))
            )
        file.seek(0)
        try:
            archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - it has nothing to close
        except tarfile.TarError:
            return TarShard(
                path, {}, {}, Message(_("it is not a tar file, or its beginning is damaged; copy it again"))
            )
        end, last, is_cut = _read_headers(archive, size, (members, offsets), bad_names)
        file.seek(end)
        is_ended = file.read(_BLOCK) == bytes(_BLOCK)
    damage = None
    if is_cut or end >= size:
        damage = Message(_COPY_AGAIN, member=last) if is_cut else _describe_missing_end(last)
    elif not is_ended:
        damage = Message(_("it is damaged after {member}, so what follows is missing; copy it again"), member=last)
    return TarShard(path, members, offsets, damage, tuple(bad_names))


def _read_headers(
    archive: tarfile.TarFile,
    size: int,
    found: tuple[dict[str, int], dict[str, int]],
    bad_names: list[tuple[str, Message]],
) -> tuple[int, str, bool]:
    """Fill in what the headers say: where they end, the last file, and whether the shard ends in the middle of it."""
    last = ""
    try:
        while member := archive.next():
            archive.members = []  # type: ignore[attr-defined]  # tarfile would keep a kilobyte for each file
            last = member.name
            if member.offset_data + member.size > size:
                return archive.offset, last, True
            if not member.isreg() or member.issparse():
                continue
            if reason := describe_bad_name(member.name):
                bad_names.append((member.name, reason))
            else:
                name = PurePosixPath(member.name).as_posix()
                found[0][name], found[1][name] = member.size, member.offset_data
    except tarfile.TarError:
        return archive.offset, last, archive.offset >= size
    return archive.offset, last, False


def _describe_missing_end(last: str) -> Message:
    return Message(_("it has no end after {member}, so files may be missing; copy it again"), member=last)
