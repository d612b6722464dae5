"""Paths as a person writes them: `~` is a home folder, and what no file can be called is refused."""

import errno
import os
from glob import glob, has_magic
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.storage.addresses import find_copy, is_address
from tetrad.storage.patterns import expand_braces, has_pattern

MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 4095  # of Linux; other systems allow at most as much


def expand_path(path: str | Path) -> Path:
    """The path with `~` and `~name` replaced by a home folder; every path that a person gives goes through here.

    An address in object storage becomes the path of its local copy, see `given_paths.fetch_given`.
    E2003 for a name that is too long for a file, E2004 for a user that does not exist and for the character NUL.
    """
    if "\0" in str(path):
        template = _("{path} cannot be a path, because it contains the character NUL; remove it")
        raise TetradError("E2004", template, path=repr(str(path)))
    if is_address(path):
        return find_copy(path)
    try:
        expanded = Path(path).expanduser()
    except RuntimeError as error:
        template = _("there is no user with a home folder for {path}; write the folder out, or ./{path} if it is here")
        raise TetradError("E2004", template, path=path) from error
    check_path_length(expanded)
    return expanded


def is_pattern(path: Path) -> bool:
    """Whether a path names several files, such as `shards/*.tar` or `shards-{000..099}.tar`; no file has this name."""
    return has_pattern(str(path)) and not os.path.lexists(path)


def expand_pattern(path: Path) -> list[Path]:
    """The files that a pattern names, in order: `*`, `?` and `[a-c]` those that exist, `{000..099}` and `{a,b}` all."""
    names = expand_braces(str(path))
    return [Path(found) for name in names for found in (sorted(glob(name)) if has_magic(name) else [name])]  # noqa: PTH207 - of any root


def check_path_length(path: Path) -> None:
    """E2003 where a name in the path, or the whole path, is longer than a file system allows."""
    if len(os.fsencode(path)) > MAX_PATH_BYTES or any(len(os.fsencode(name)) > MAX_NAME_BYTES for name in path.parts):
        raise _name_too_long_error(path)


def explain_system_error(error: OSError) -> TetradError | None:
    """What a person can cause with any path: E2003 for a name that is too long, E2007 for what may not be opened.

    None for everything else. `Path.exists` and `Path.is_file` raise both errors too.
    """
    if error.filename and error.errno == errno.ENAMETOOLONG:
        return _name_too_long_error(error.filename)
    if error.filename and isinstance(error, PermissionError):
        template = _("{path} cannot be opened ({reason}); check its permissions and those of its folder")
        return TetradError("E2007", template, path=error.filename, reason=error.strerror)
    return None


def _name_too_long_error(path: str | Path) -> TetradError:
    template = _("{path} cannot be opened, because its name is too long; shorten the name")
    return TetradError("E2003", template, path=path)
