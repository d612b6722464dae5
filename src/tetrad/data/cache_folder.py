"""The folder that keeps what is computed from images: here what was seen when an image was decoded."""

import hashlib
import json
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tetrad.data.fitted_images import FittedImages
from tetrad.documents import parse_json, read_text_file
from tetrad.formats.atomic_write import replace_file
from tetrad.images.examine import ImageInfo
from tetrad.images.measure import Measures
from tetrad.locales import Message, _

_INFO_VERSION = 4  # increase it when `images.examine` sees something else in the same file


class CacheFolder:
    """What is known about images that were decoded completely, a small file each, and some of them, fitted.

    No error in the folder stops a run: if it cannot be written the run continues without it. Each such case adds one
    message to `warnings`.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.fitted = FittedImages(folder / "fitted" if folder else None)
        self.warnings: list[Message] = []
        self.refused: tuple[Path, bytes, OSError] | None = None  # what the disk refused, so that it can be retried
        self._writable = folder is not None
        self._lock = threading.Lock()

    def get_image_info(self, file_hash: str) -> ImageInfo | None:
        """What an earlier run saw when it decoded an image completely, or None."""
        if self.folder is None:
            return None
        try:
            values = parse_json(read_text_file(self.folder / _info_name(file_hash)))
            if values.pop("checksum") != _compute_checksum(file_hash, values):
                return None
            measures = Measures(**{name: float(value) for name, value in values["measures"].items()})
            thumbnail, fixes = bytes.fromhex(values["thumbnail"]), tuple(map(str, values["fixes"]))
            size = int(values["width"]), int(values["height"])
            return ImageInfo(*size, thumbnail, measures, fixes, bool(values["has_hole"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def put_image_info(self, file_hash: str, info: ImageInfo) -> None:
        if self.folder is not None:
            values = asdict(info) | {"thumbnail": info.thumbnail.hex(), "fixes": list(info.fixes)}
            values["checksum"] = _compute_checksum(file_hash, values)
            self._write(_info_name(file_hash), json.dumps(values).encode())

    def _write(self, name: str, content: bytes) -> None:
        """Write atomically, so that another run never reads half a file."""
        if self.folder is None or not self._writable:
            return
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content, flushes=False)
        except OSError as error:
            with self._lock:
                if not self._writable:  # another thread has said so
                    return
                self._writable = False
                self.refused = path, content, error
                template = _("the cache folder {folder} cannot be written ({reason}), so nothing new is cached")
                self.warnings.append(Message(template, folder=self.folder, reason=error.strerror))

    def retry(self) -> None:
        """Write what was refused; from then on, the folder is written again.  Raises OSError."""
        if self.refused:
            path, content, _error = self.refused
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content)
            self.refused, self._writable = None, True
            self.warnings.pop()


def _info_name(file_hash: str) -> str:
    return f"pictures/{file_hash}.{_INFO_VERSION}.json"


def _compute_checksum(file_hash: str, values: dict[str, Any]) -> str:
    """sha256 of the values and of the file that they belong to, so that an edited or exchanged file is not used."""
    return hashlib.sha256(json.dumps([file_hash, values], sort_keys=True).encode()).hexdigest()
