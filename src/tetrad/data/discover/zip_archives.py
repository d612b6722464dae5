"""Unpack a zip archive of images into the cache, member by member, so that it can be read like a folder."""

import errno
import hashlib
import lzma
import os
import shutil
import stat
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tetrad.data.captions.caption_files import CAPTION_SUFFIXES
from tetrad.data.captions.encodings import decode_text
from tetrad.data.captions.metadata_files import METADATA_FILE_NAMES
from tetrad.data.discover.image_files import (
    TEXT_SUFFIXES,
    WRONG_NAME,
    FileProblem,
    is_hidden,
    is_image_name,
    report_videos,
)
from tetrad.data.discover.member_names import describe_bad_name
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import make_temporary_folder
from tetrad.images.diagnosis import is_image_start
from tetrad.locales import Message, _

ARCHIVE_SUFFIXES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst")
_MAX_MEMBERS, _MAX_BYTES, _MAX_MEMBER_BYTES = 20_000, 50_000_000_000, 500_000_000
_MAX_RATIO, _RATIO_FROM_BYTES = 100, 10_000_000  # a member larger than this that was more than 100 times compressed
_KEPT_DAYS = 30  # unpacked archives are kept for so long after their last use
_CHUNK = 1 << 20
_DAMAGED = ".damaged"  # the file that lists the damaged members
# What a damaged member raises, or one whose name needs a folder where another member is a file.
_MEMBER_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    FileExistsError,
    NotADirectoryError,
)
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)  # that Python reads
_UTF8_NAME, _ENCRYPTED = 0x800, 0x1  # flags of a member


@dataclass(frozen=True)
class UnpackedArchive:
    """The folder with the files of an archive, and the members that are left out."""

    folder: Path
    problems: tuple[FileProblem, ...]


class _BadMember(Exception):
    """A member that is left out; the message is a whole clause."""

    def __init__(self, reason: Message) -> None:
        super().__init__(reason)
        self.reason = reason


def is_archive(path: Path) -> bool:
    """Whether a path is an archive file, by its name."""
    return path.suffix.lower() in ARCHIVE_SUFFIXES and path.is_file()


def unpack_archive(path: Path, cache: Path) -> UnpackedArchive:
    """The files of a zip archive in a folder of the cache, which is used again as long as the archive is the same.

    Raises E4180 for an archive that cannot be read, E4181 for one that is too large unpacked, E4202 where the cache
    cannot be written.
    """
    if path.suffix.lower() != ".zip":
        template = _("{path} is neither a zip archive nor a plain tar file; unpack it and give the folder")
        raise TetradError("E4180", template, path=path)
    try:
        with path.open("rb") as file:
            target = cache / "archives" / hashlib.file_digest(file, "sha256").hexdigest()
        with zipfile.ZipFile(path) as archive:
            members = [each for each in archive.infolist() if not each.is_dir()]
            _check_size(path, members)
            names, problems = _select_members(path, archive, members)
            if not target.is_dir():
                _unpack(archive, names, target)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        raise _unreadable_archive_error(path) from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # its directory is said to be before the file
            raise _unreadable_archive_error(path) from error
        template = _("{path} cannot be unpacked into {folder} ({reason}); unpack it yourself and give the folder")
        raise TetradError("E4202", template, path=path, folder=cache, reason=error.strerror or str(error)) from error
    _remove_unused(target)
    damage = Message(_("it is damaged inside the archive; pack it again"))
    damaged = filter(None, (target / _DAMAGED).read_text("utf-8").split("\n"))  # a name may have other line separators
    return UnpackedArchive(target, (*problems, *(FileProblem(path / name, "E4122", damage) for name in damaged)))


def _unreadable_archive_error(path: Path) -> TetradError:
    template = _(
        "{path} cannot be read as a zip archive: it is cut off, damaged or another kind of file; copy it again, or"
        " unpack it and give the folder"
    )
    return TetradError("E4180", template, path=path)


def _check_size(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """E4181 for an archive of too many or too large files, or one that is made to fill the disk (a zip bomb)."""
    total = sum(member.file_size for member in members)
    bomb = next((member for member in members if _is_bomb(member)), None)
    if len(members) > _MAX_MEMBERS:
        reason = Message(_("it has {count:,} files, more than {limit:,}"), count=len(members), limit=_MAX_MEMBERS)
    elif bomb:
        template = _("{name} is {size:,} bytes unpacked, more than {ratio} times its size in the archive")
        reason = Message(template, name=bomb.filename, size=bomb.file_size, ratio=_MAX_RATIO)
    elif total > _MAX_BYTES:
        reason = Message(_("it is {size:,} bytes unpacked, more than {limit:,}"), size=total, limit=_MAX_BYTES)
    else:
        return
    template = _("{path} is not unpacked: {reason}; unpack it yourself and give the folder")
    raise TetradError("E4181", template, path=path, reason=reason)


def _is_bomb(member: zipfile.ZipInfo) -> bool:
    return member.file_size > max(_RATIO_FROM_BYTES, _MAX_RATIO * member.compress_size)


def _select_members(
    path: Path, archive: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo]
) -> tuple[dict[str, zipfile.ZipInfo], list[FileProblem]]:
    """The images and captions of an archive by the names that they get, and the members that are left out."""
    names: dict[str, zipfile.ZipInfo] = {}
    taken: set[str] = set()
    problems, others = [], []
    for member in members:
        name = decode_member_name(member)
        if _is_hidden_member(name):
            continue
        if not _is_needed(name) and not _is_link(member):  # a link may lead to a folder of images
            others.append(name)
            if _is_misnamed_image(archive, member, name):
                problems.append(FileProblem(path / PurePosixPath(name).name, "E4113", WRONG_NAME))
            continue
        try:
            _check_member(member, name)
            key = unicodedata.normalize("NFC", name).casefold()  # one file on file systems that ignore case
            if key in taken:
                raise _BadMember(Message(_("the archive has another file of this name; rename one")))
        except _BadMember as error:
            problems.append(FileProblem(path / PurePosixPath(name).name, "E4122", error.reason))
            continue
        taken.add(key)
        names[name] = member
    return names, [*problems, *report_videos(path, [PurePosixPath(name).name for name in others])]


def decode_member_name(member: zipfile.ZipInfo) -> str:
    """A member's name with `/` between folders; names that are not UTF-8 are guessed as captions are."""
    name = member.orig_filename  # as it stands in the archive: zipfile cuts `filename` at a NUL
    if not member.flag_bits & _UTF8_NAME and not name.isascii():
        with suppress(ValueError, UnicodeEncodeError):
            name = decode_text(name.encode("cp437"))[0]
    return name.replace("\\", "/")


def _is_hidden_member(name: str) -> bool:
    *folders, last = name.split("/")
    return any(map(is_hidden, (*(folder for folder in folders if folder not in ("", ".", "..")), last)))


def _is_needed(name: str) -> bool:
    """Whether a member is an image, a caption or a metadata file, or an archive inside, which is named as left out."""
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    is_text = suffix in CAPTION_SUFFIXES or path.name.lower() in METADATA_FILE_NAMES
    return is_image_name(path.name) or is_text or suffix in ARCHIVE_SUFFIXES


def _is_misnamed_image(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> bool:
    if PurePosixPath(name).suffix.lower() in TEXT_SUFFIXES:
        return False
    try:
        with archive.open(member) as file:
            return is_image_start(file.read(32))
    except _MEMBER_ERRORS:
        return False


def _is_link(member: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)


def _check_member(member: zipfile.ZipInfo, name: str) -> None:
    """_BadMember for a name that would lead out of the folder, a link, an encrypted file or an archive."""
    if reason := describe_bad_name(name):
        raise _BadMember(reason)
    if _is_link(member):
        raise _BadMember(Message(_("it is a link; pack what it leads to instead")))
    if member.flag_bits & _ENCRYPTED:
        raise _BadMember(Message(_("it needs a password; unpack the archive yourself and give the folder")))
    if member.compress_type not in _COMPRESSIONS:
        raise _BadMember(
            Message(_("it is compressed in a way that is not read; unpack the archive yourself and give the folder"))
        )
    if PurePosixPath(name).suffix.lower() in ARCHIVE_SUFFIXES:
        raise _BadMember(Message(_("archives inside an archive are not unpacked; unpack it yourself")))
    if member.file_size > _MAX_MEMBER_BYTES:
        template = _("it is {size:,} bytes unpacked, more than {limit:,}; save it smaller")
        raise _BadMember(Message(template, size=member.file_size, limit=_MAX_MEMBER_BYTES))


def _unpack(archive: zipfile.ZipFile, names: dict[str, zipfile.ZipInfo], target: Path) -> None:
    """Write the members into the folder, which exists only when all are written, and the names of damaged ones."""
    needed = sum(member.file_size for member in names.values())
    target.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(target.parent).free < needed:
        raise OSError(28, str(Message(_("it needs {size:,} bytes"), size=needed)))
    folder = make_temporary_folder(target)
    damaged = []
    try:
        for name, member in names.items():
            place = folder / name
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, place.open("xb") as file:
                    shutil.copyfileobj(source, file, _CHUNK)
            except (*_MEMBER_ERRORS, OSError) as error:
                if isinstance(error, OSError) and error.errno and not isinstance(error, _MEMBER_ERRORS):
                    raise  # the disk is full; bz2 raises errors without a number for damaged data
                with suppress(OSError):
                    place.unlink()
                damaged.append(name)
        (folder / _DAMAGED).write_text("\n".join(damaged), "utf-8")
        with suppress(FileExistsError):  # another process has unpacked the same archive meanwhile
            os.replace(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_unused(target: Path) -> None:
    """Remove archives that were unpacked by earlier runs and not used for a month, and what a killed one left."""
    with suppress(OSError):
        os.utime(target)
        for other in target.parent.iterdir():
            if other.stat().st_mtime < time.time() - _KEPT_DAYS * 86400:
                shutil.rmtree(other, ignore_errors=True)
