"""Images that are dropped to start from, as masks, or for their settings: kept under the hash of their content."""

import asyncio
import hashlib
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.exceptions import HTTPException

from tetrad.data.discover.image_files import IMAGE_SUFFIXES
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.web.file_names import get_suffix
from tetrad.web.places import inside

MAX_BYTES = 64_000_000
_KEPT = 200  # images; the oldest go first
_NAME = re.compile(r"[0-9a-f]{32}\.[a-z0-9]{1,5}")


class Inputs:
    """The images that were dropped, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def receive(self, name: str, chunks: AsyncIterator[bytes]) -> str:
        """Store an image piece by piece; returns its id.  E4312 for one that is too large or of another type."""
        suffix = get_suffix(name)
        if suffix not in IMAGE_SUFFIXES:
            template = _("{file} is no image that can be used here; PNG, JPEG and WebP can")
            raise TetradError("E4312", template, file=name)
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".incoming-", delete=False) as file:
            path = Path(file.name)
            try:
                digest, size = hashlib.sha256(), 0
                async for chunk in chunks:
                    size += len(chunk)
                    if size > MAX_BYTES:
                        template = _("{file} is larger than {limit} MB, which is the most an image may have")
                        raise TetradError("E4312", template, file=name, limit=MAX_BYTES // 1_000_000)
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
                file.close()
                id = f"{digest.hexdigest()[:32]}{suffix}"
                path.replace(self.folder / id)
            finally:
                path.unlink(missing_ok=True)
        self._forget_old()
        return id

    def path(self, id: str) -> Path:
        """The file of an image.  404 where there is none."""
        if not _NAME.fullmatch(id):
            raise HTTPException(404)
        return inside(self.folder, id)

    def _forget_old(self) -> None:
        found = sorted((path for path in self.folder.glob("[0-9a-f]*")), key=lambda path: path.stat().st_mtime)
        for path in found[:-_KEPT]:
            path.unlink(missing_ok=True)
