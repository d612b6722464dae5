"""Where commands write images: checks the path, and chooses another name where a file is already there."""

import os
from pathlib import Path

from tetrad.cli.terminal import print_note
from tetrad.errors import TetradError
from tetrad.locales import _


def find_unused_path(path: Path) -> Path:
    """The path, or `name-2.png` and so on where there is a file already.

    Raises E4202 where the folder cannot be written to, E3252 where the path is no PNG file's.
    """
    check_image_path(path)
    number, unused_path = 1, path
    while unused_path.exists():
        number += 1
        unused_path = path.with_stem(f"{path.stem}-{number}")
    return unused_path


def choose_output_path(path: Path) -> Path:
    """The same, with a note on stderr where another name is chosen."""
    unused_path = find_unused_path(path)
    if unused_path != path:
        print_note(_("{path} already exists, so the image is saved as {saved}"), path=path, saved=unused_path)
    return unused_path


def check_image_path(path: Path) -> None:
    try:
        path.exists()
    except OSError as error:  # the name is too long, or the folder may not be read
        template = _("{path} cannot be written ({reason}); change --out")
        raise TetradError("E4202", template, path=path, reason=error.strerror) from error
    if not path.parent.is_dir():
        template = _("{path} cannot be written: there is no folder {folder}; create it, or change --out")
        raise TetradError("E4202", template, path=path, folder=path.parent)
    if path.is_dir():
        raise TetradError("E3252", _("--out must be a PNG file; {path} is a folder"), path=path)
    if path.suffix.lower() != ".png":
        template = _("--out must end in .png, since the prompt and settings are stored in the PNG; it is {name}")
        raise TetradError("E3252", template, name=path.name)
    if not os.access(path.parent, os.W_OK):
        template = _("you have no permission to write in {folder}; change the permission, or change --out")
        raise TetradError("E4202", template, folder=path.parent)
