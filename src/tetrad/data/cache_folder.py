"""The folder that keeps what is computed from images: here what was seen when an image was decoded."""

import hashlib
import json
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tetrad.data.fitted_images import FittedImages
from tetrad.data.record_shards import RecordShards
from tetrad.data.shards.member_path import MemberPath
from tetrad.documents import parse_json
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
        self.records: RecordShards | None = None  # where all else is kept of a large data set
        self._writable = folder is not None
        self._lock = threading.Lock()

    def use_records(self) -> None:
        """Keep what is new in few large files; what is in files of its own is still found."""
        if self.folder is not None and self.records is None:
            self.records = RecordShards(self.folder / "records")

    def get_image_info(self, file_hash: str) -> ImageInfo | None:
        """What an earlier run saw when it decoded an image completely, or None."""
        try:
            values = parse_json(self._read(_info_name(file_hash)).decode())
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

    def get_file_hash(self, path: Path) -> str:
        """The sha256 of a file in a shard that an earlier run has read; "" if it is not known, or the shard changed."""
        with suppress(OSError):
            content = self.records.get(_hash_name(path)) if self.records and isinstance(path, MemberPath) else None
            return content.hex() if content else ""
        return ""

    def put_file_hash(self, path: Path, file_hash: str) -> None:
        if self.records and isinstance(path, MemberPath) and path.is_file():
            self._write(_hash_name(path), bytes.fromhex(file_hash))

    def _read(self, name: str) -> bytes:
        """What was written.  OSError if there is nothing."""
        if self.records and (content := self.records.get(name)) is not None:
            return content
        if self.folder is None:
            raise FileNotFoundError
        return (self.folder / name).read_bytes()

    def _write(self, name: str, content: bytes) -> None:
        """Write atomically, so that another run never reads half a file."""
        if self.folder is None or not self._writable:
            return
        path = self.folder / name
        try:
            self._store(path, content)
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
            self._store(path, content)
            self.refused, self._writable = None, True
            self.warnings.pop()

    def _store(self, path: Path, content: bytes) -> None:
        """Write what belongs at a path of the folder, in its place or as a record.  Raises OSError."""
        if self.records and self.folder:
            self.records.put(path.relative_to(self.folder).as_posix(), content)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content, flushes=False)


def _hash_name(path: MemberPath) -> str:
    """The name of a record for a file in a shard as it is now."""
    state = path.shard.stat()
    return f"members/{state.st_size}-{state.st_mtime_ns}/{path.absolute().as_posix().lstrip('/')}"


def _info_name(file_hash: str) -> str:
    return f"pictures/{file_hash}.{_INFO_VERSION}.json"


def _compute_checksum(file_hash: str, values: dict[str, Any]) -> str:
    """sha256 of the values and of the file that they belong to, so that an edited or exchanged file is not used."""
    return hashlib.sha256(json.dumps([file_hash, values], sort_keys=True).encode()).hexdigest()
