"""Images at the size that they are trained at, on disk from their examination until they are encoded.

So a large image that cannot be decoded at a fraction of its size is decoded once, though the model that encodes it is
loaded after the examination of all.
"""

import hashlib
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

from PIL import Image

from tetrad.formats.atomic_write import replace_file
from tetrad.images.bands import UprightImage, fit_on_white

CACHE_VERSION = 4  # increase it when images/ gives other pixels for the same file, or the files of a cache change
_WORTHWHILE = 4  # times as many pixels as it is trained at has an image that is kept
_MAX_BYTES, _MAX_SHARE_OF_DISK = 8e9, 0.1  # of all that is kept, and of the space that is free
_MAX_DAYS = 7  # in which an image that was only scanned is expected to be used


class FittedImages:
    """A folder with one file for each image: a checksum and its RGB pixels.  None keeps nothing.

    No error in the folder stops a run: an image that is not there is decoded again.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._free_bytes: float | None = None  # how much more may be kept; None until the folder was looked at
        self._lock = threading.Lock()

    def keep(self, file_hash: str, upright: UprightImage, size: tuple[int, int]) -> None:
        """Fit a decoded image to a size (width, height) and keep it, if that saves time and there is space."""
        pixels = size[0] * size[1]
        if self.folder is None or upright.size[0] * upright.size[1] < _WORTHWHILE * pixels:
            return
        with suppress(OSError, MemoryError):
            if self._reserve(3 * pixels):
                content = fit_on_white(upright, size).tobytes()
                name = _name_of(file_hash, size)
                replace_file(self.folder / name, _compute_checksum(name, content) + content, flushes=False)

    def take(self, file_hash: str, size: tuple[int, int]) -> Image.Image | None:
        """What was kept of an image at this size, which is removed, as its latents are kept from then on; or None."""
        if self.folder is None:
            return None
        name = _name_of(file_hash, size)
        try:
            stored = (self.folder / name).read_bytes()
            (self.folder / name).unlink()
        except OSError:
            return None
        checksum, content = stored[:32], stored[32:]
        return Image.frombytes("RGB", size, content) if checksum == _compute_checksum(name, content) else None

    def remove_old(self) -> None:
        """Remove what was kept and not used for days; what cannot be removed stays."""
        if self.folder is not None and self.folder.is_dir():
            for path in self.folder.iterdir():
                with suppress(OSError):
                    if time.time() - path.stat().st_mtime > _MAX_DAYS * 86_400:
                        path.unlink()

    def _reserve(self, count: int) -> bool:
        """Whether so many more bytes may be kept.  Raises OSError."""
        with self._lock:
            if self._free_bytes is None:
                self._free_bytes = 0  # unless all of this succeeds
                assert self.folder is not None
                self.folder.mkdir(parents=True, exist_ok=True)
                kept = sum(path.stat().st_size for path in self.folder.iterdir())
                self._free_bytes = min(_MAX_BYTES - kept, _MAX_SHARE_OF_DISK * shutil.disk_usage(self.folder).free)
            self._free_bytes -= count
            return self._free_bytes >= 0


def _name_of(file_hash: str, size: tuple[int, int]) -> str:
    return f"{file_hash}-{size[0]}x{size[1]}.{CACHE_VERSION}"


def _compute_checksum(name: str, content: bytes) -> bytes:
    """sha256 of the pixels and of the file that they belong to, so that exchanged files are not used."""
    return hashlib.sha256(name.encode() + content).digest()
