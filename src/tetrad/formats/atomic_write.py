"""Atomic writes: a file is either written completely or not at all."""

import os
import re
import shutil
import socket
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.locales import _

_SUFFIX = ".tetrad-tmp"
_TEMPORARY_NAME = re.compile(
    rf"\..+\.(?P<computer>[0-9a-f]{{8}})-(?P<pid>\d+)\.[a-z0-9_]{{8}}{re.escape(_SUFFIX)}", re.DOTALL
)
_MAX_WRITING_SECONDS = 86_400  # after which a process of another computer counts as ended
_CLOCK_TOLERANCE = 2.0  # seconds between the start of a process and the time of a file


def is_temporary(name: str) -> bool:
    """Whether this is the name of a file or folder that is written, or was when its process was killed."""
    return _TEMPORARY_NAME.fullmatch(name) is not None


def is_left_behind(path: Path) -> bool:
    """Whether this is a temporary file or folder whose process has ended, so that nobody will complete it."""
    import psutil  # needs time, and commands that only show help do without

    match = _TEMPORARY_NAME.fullmatch(path.name)
    if match is None:
        return False
    try:
        written = path.stat().st_mtime
        if match["computer"] != _hash_of_computer():
            return time.time() - written > _MAX_WRITING_SECONDS
        started: float = psutil.Process(int(match["pid"])).create_time()
    except psutil.NoSuchProcess:
        return True
    except (OSError, psutil.Error):
        return False
    return started > written + _CLOCK_TOLERANCE  # a later process with the same number


def remove_left_behind(folder: Path) -> None:
    """Remove the temporary files and folders of ended processes from a folder; what cannot be removed stays."""
    with suppress(OSError):
        remove_all(path for path in folder.iterdir() if is_left_behind(path))


def remove_all(paths: Iterable[Path]) -> None:
    """Remove files and folders; what cannot be removed stays."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def make_temporary_folder(path: Path) -> Path:
    """An empty folder next to `path`, to be renamed to it when it is complete.  Raises OSError."""
    return Path(tempfile.mkdtemp(dir=path.parent, prefix=_name_prefix(path), suffix=_SUFFIX))


def _name_prefix(path: Path) -> str:
    """How the name of a temporary file for `path` begins: it tells who writes it."""
    return f".{path.name[:40]}.{_hash_of_computer()}-{os.getpid()}."


def _hash_of_computer() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


@contextmanager
def convert_write_errors(path: Path) -> Iterator[None]:
    """Turn errors of writing a file that a person asked for into E4202.

    First what killed processes left beside it is removed, which is gigabytes where they were saving a checkpoint.
    """
    from safetensors import SafetensorError  # needs time, and commands that only show help do without

    remove_left_behind(path.parent)
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TetradError(
            "E4202", _("{path} cannot be written ({reason}); choose another folder"), path=path, reason=reason
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """`replace_file` for a file that a person asked for.  E4202 if it cannot be written."""
    with convert_write_errors(path):
        replace_file(path, content)


def replace_file(path: Path, content: bytes, flushes: bool = True) -> None:
    """Write a file; other programs see either the old file or the new one.  Raises OSError."""
    with stage_replacement(path, flushes) as temporary_path:
        temporary_path.write_bytes(content)


@contextmanager
def stage_replacement(path: Path, flushes: bool = True) -> Iterator[Path]:
    """A path to write the new file to; at the end it is flushed to disk and renamed.  Raises OSError.

    It lies in a temporary folder next to the target, so that what a library writes beside it (safetensors has temporary
    files of its own) is known for what it is when the process is killed.
    Files that can be made again need no flushing, which takes longer than writing where there are thousands of them.
    """
    folder = make_temporary_folder(path)
    temporary_path = folder / "content"  # without a suffix, so that nobody who searches for files takes it for one
    try:
        yield temporary_path
        if flushes:
            with temporary_path.open("rb+") as file:
                os.fsync(file.fileno())
        os.chmod(temporary_path, 0o644)
        os.replace(temporary_path, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
