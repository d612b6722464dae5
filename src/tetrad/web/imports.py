"""Configurations of other trainers that were opened on the page; each is kept for a week."""

import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException

from tetrad.installation import make_safe_stem
from tetrad.web.places import inside
from tetrad.web.resident import Resident

_SECONDS = 60.0  # for one file; its images are counted, too
_KEPT_SECONDS = 7 * 86_400.0


@dataclass(frozen=True)
class Imports:
    """The files in a folder, each in a folder of its own whose name is the file's id."""

    folder: Path
    reader: Resident  # runs `tetrad.web.images_child`

    def add(self, name: str, content: bytes) -> str:
        """Keep a file; returns its id.  Those of more than a week ago are removed."""
        for old in self.folder.glob("*"):
            if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        id, last = uuid.uuid4().hex, Path(name.replace("\\", "/").rpartition("/")[2])
        suffix = last.suffix if last.suffix[1:].isalnum() else ""
        (self.folder / id).mkdir(parents=True)
        (self.folder / id / f"{make_safe_stem(last.stem)}{suffix}").write_bytes(content)
        return id

    def find(self, id: str) -> Path:
        """The file with an id.  404 where there is none."""
        folder = inside(self.folder, id)
        found = next(folder.iterdir(), None) if folder.is_dir() else None
        if found is None:
            raise HTTPException(404)
        return found

    async def read_configuration(self, id: str, method: str = "") -> dict[str, Any]:
        """What `configuration_child` says of the file.  404 for no such file, and its errors."""
        request = {"do": "configuration", "path": str(self.find(id)), "method": method}
        return await self.reader.answer(request, _SECONDS)

    def remove(self, id: str) -> None:
        shutil.rmtree(self.find(id).parent, ignore_errors=True)
