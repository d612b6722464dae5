"""Files that people drop on the page: they are streamed into a data set, under safe names and within limits."""

import asyncio
import filecmp
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tetrad.data.captions.caption_files import CAPTION_SUFFIXES
from tetrad.data.captions.metadata_files import METADATA_FILE_NAMES, read_metadata
from tetrad.data.discover.image_files import IMAGE_SUFFIXES
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import replace_file
from tetrad.locales import Message, _
from tetrad.web.archives import MAX_EXPANDED_BYTES, Member, open_archive
from tetrad.web.data_sets import DataSet
from tetrad.web.file_names import MASK_END, UNUSABLE_SUFFIXES, get_last_part, get_suffix

MAX_IMAGE_BYTES = 64_000_000
MAX_IMAGES = 2_000
_MAX_TEXT_BYTES = 10_000_000
_TEXT_SUFFIXES = tuple(suffix for suffix in CAPTION_SUFFIXES if suffix.islower())
_ZIP = ".zip"
_STALE_SECONDS = 3600.0  # without a new piece


@dataclass(frozen=True)
class Refusal:
    """A file that was not taken, and why."""

    name: str
    code: str
    reason: Message


@dataclass
class Received:
    """What became of the files of an upload."""

    stored: list[Path] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


async def receive(data_set: DataSet, name: str, chunks: AsyncIterator[bytes]) -> Received:
    """Store one uploaded file, an image, a caption, a metadata file or a zip of them, piece by piece.

    `name` may have folders in it, as a dropped folder gives; none of it becomes part of a path. E4312 for a file that
    is too large or of a type that is not used, E4313 where the set is full or is
    a folder of the person's own, E4311 for a bad zip, E4202 where the disk
    refuses it. Nothing is left of a file that is not taken.
    """
    if data_set.writes_beside:
        template = _("{set} is a folder of your own, so nothing is uploaded into it; put the images there yourself")
        raise TetradError("E4313", template, set=data_set.name)
    suffix = get_suffix(name)
    limit = MAX_EXPANDED_BYTES if suffix == _ZIP else _check_type(data_set, name)
    await asyncio.to_thread(data_set.prepare_edit)
    with _incoming(data_set) as path:
        with path.open("wb") as file:
            size = 0
            async for chunk in chunks:
                size += len(chunk)
                _check_size(name, size, limit)
                await asyncio.to_thread(file.write, chunk)
        if suffix == _ZIP:
            return await asyncio.to_thread(_unpack, data_set, path)
        received = Received()
        await asyncio.to_thread(_place, data_set, path, name, received)
        return received


def is_metadata(name: str) -> bool:
    return get_last_part(name).lower() in METADATA_FILE_NAMES


def _unpack(data_set: DataSet, path: Path) -> Received:
    """Take the members of a zip one by one; those that cannot be taken are refused, and the others stay."""
    received = Received()
    later: list[tuple[Path, str]] = []  # metadata files, which need the names of all images
    with open_archive(path) as members:
        for member in members:
            try:
                limit = _check_type(data_set, member.name)
            except TetradError as error:
                if error.code == "E4313":
                    raise
                received.refused.append(Refusal(member.name, error.code, error.sentence))
                continue
            _unpack_member(data_set, member, limit, received, later)
    for metadata, name in later:
        _apply_metadata(data_set, metadata, name, received)
        metadata.unlink()
    return received


def _unpack_member(
    data_set: DataSet, member: Member, limit: int, received: Received, later: list[tuple[Path, str]]
) -> None:
    with _incoming(data_set) as path:
        try:
            with path.open("wb") as file:
                for piece in member.pieces:
                    file.write(piece)
                    _check_size(member.name, file.tell(), limit)
        except TetradError as error:
            if error.code != "E4312":
                raise
            received.refused.append(Refusal(member.name, error.code, error.sentence))
            return
        if is_metadata(member.name):
            later.append((path.rename(path.with_name(f"{path.name}-kept")), member.name))
        else:
            _place(data_set, path, member.name, received)


def _check_type(data_set: DataSet, name: str) -> int:
    """The largest size that a file of this name may have.  E4312 for a type that is not used, E4313 for a full set."""
    suffix = get_suffix(name)
    if suffix in _TEXT_SUFFIXES or is_metadata(name):
        return _MAX_TEXT_BYTES
    if suffix not in IMAGE_SUFFIXES and suffix not in UNUSABLE_SUFFIXES:
        template = _(
            "{name} is neither an image nor a caption; give JPEG, PNG or WebP images, .txt files, or a zip of them"
        )
        raise TetradError("E4312", template, name=name)
    if data_set.names.images >= MAX_IMAGES:
        template = _("{set} has {limit:,} images, and a data set holds no more; put the others into another one")
        raise TetradError("E4313", template, set=data_set.name, limit=MAX_IMAGES)
    return MAX_IMAGE_BYTES


def _check_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        template = _("{name} is larger than {limit} MB; save it smaller")
        raise TetradError("E4312", template, name=name, limit=limit // 1_000_000)


def _place(data_set: DataSet, path: Path, name: str, received: Received) -> None:
    """Put a file that has come whole into the set, under a safe name."""
    if is_metadata(name):
        _apply_metadata(data_set, path, name, received)
        return
    with data_set.lock:
        suffix, names = get_suffix(name), data_set.names
        target = data_set.folder / f"{names.choose_stem(name)}{suffix}"
        is_image = suffix not in _TEXT_SUFFIXES and not target.stem.endswith(MASK_END)
        if is_image and target.exists() and not filecmp.cmp(path, target, shallow=False):
            target = data_set.folder / f"{names.choose_stem(name, is_another=True)}{suffix}"
        data_set.names.add(target.name, name)  # first, as a full disk may refuse it
        os.replace(path, target)
    received.stored.append(target)


def _apply_metadata(data_set: DataSet, path: Path, name: str, received: Received) -> None:
    """Write the captions of a metadata file beside the images that it names by their original names."""
    named = path.with_name(get_last_part(name))
    os.replace(path, named)
    prefix = name.replace("\\", "/").rpartition("/")[0]
    captions = read_metadata(named, Path(prefix)).captions
    os.replace(named, path)
    by_original = {original.replace("\\", "/"): place for place, original in data_set.names.originals.items()}
    for image, caption in captions.items():
        if place := by_original.get(image.as_posix()):
            target = (data_set.folder / place).with_suffix(".txt")
            replace_file(target, caption.encode())  # it may share its content with a file of the person's own
            received.stored.append(target)


def _remove_stale(folder: Path) -> None:
    """Remove what a server that was killed has left of files that were still coming."""
    for path in folder.iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()


@contextmanager
def _incoming(data_set: DataSet) -> Iterator[Path]:
    """A place for a file that is still coming; it is gone afterwards.  E4202 where it cannot be written."""
    folder = data_set.hidden / "incoming"
    path = folder / uuid.uuid4().hex
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        yield path
    except OSError as error:
        template = _("{folder} cannot be written to ({reason}); free some space, or check the folder's permissions")
        raise TetradError("E4202", template, folder=data_set.folder, reason=error.strerror) from error
    finally:
        path.unlink(missing_ok=True)
