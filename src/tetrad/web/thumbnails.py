"""Thumbnails of image files: made by a child process when they are first asked for, and kept on disk."""

from collections import OrderedDict
from pathlib import Path
from typing import Literal

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.web.resident import Resident

Side = Literal[128, 256, 1024]
_SECONDS = 20.0  # for one image
_MAX_BYTES = 500_000_000  # of all thumbnails
_REMEMBERED = 20_000  # images whose thumbnail or error is known without asking the child

_FileState = tuple[str, int, int, int]  # path, size, change time in ns, inode


class Thumbnails:
    """A small WebP image for each image file, in a folder of bounded size."""

    def __init__(self, folder: Path, images: Resident, max_bytes: int = _MAX_BYTES) -> None:
        """`images` runs `tetrad.web.images_child`."""
        self.folder, self.images, self.max_bytes = folder, images, max_bytes
        self._known: OrderedDict[tuple[_FileState, int], Path | TetradError] = OrderedDict()

    async def find_or_make(self, path: Path, side: Side = 256) -> Path:
        """The path of the thumbnail, at most `side` × `side` pixels.

        E41… as in docs/errors.md for an image that cannot be used, E4120 for one that cannot be read, E6201 and E6202
        where decoding it ended the child or took too long.
        """
        key = (_file_state(path), side)
        known = self._known.get(key)
        if isinstance(known, TetradError):
            raise known
        if known is not None and known.exists():
            return known
        request = {"do": "thumbnail", "path": str(path), "side": side, "folder": str(self.folder)}
        try:
            answer = await self.images.answer(request | {"max_bytes": self.max_bytes}, _SECONDS)
        except TetradError as error:
            self._remember(key, error)
            raise
        self._remember(key, made := Path(answer["path"]))
        return made

    def _remember(self, key: tuple[_FileState, int], result: Path | TetradError) -> None:
        self._known[key] = result
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _file_state(path: Path) -> _FileState:
    """What changes when the file does.  E4120 where it cannot be read."""
    try:
        state = path.stat()
    except OSError as error:
        template = _("it cannot be read ({reason}); check its permissions")
        raise TetradError("E4120", template, reason=error.strerror) from error
    return str(path), state.st_size, state.st_mtime_ns, state.st_ino
