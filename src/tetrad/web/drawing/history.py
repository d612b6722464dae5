"""The images that were generated on the page: PNGs in a folder, each with a JSON file that says how it was made."""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException

from tetrad.documents import parse_json, read_text_file
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import replace_file
from tetrad.locales import _
from tetrad.web.places import inside

_NAME = re.compile(r"\d{1,16}-\d{1,20}")
_CAPTION = (r"Seed: (\d+)", r"Size: (\d+x\d+)", r"Sampler: ([^,\n]+)", r"Steps: (\d+)")


class History:
    """The generated images in `folder`, the newest first.  A PNG has its settings inside too, for other programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def without_folder(self) -> Path:
        """For the images that were made without networks, to compare with another one."""
        return self.folder / "without"

    def list_ids(self) -> list[str]:
        names = (path.stem for path in self.folder.glob("*.png") if _NAME.fullmatch(path.stem))
        return sorted(names, reverse=True)

    def add(self, image: Mapping[str, Any], order: str, settings: Mapping[str, Any]) -> None:
        """Write down how an image was made, beside it."""
        about = {name: image[name] for name in ("number", "seed", "infotext")}
        self._write(image["id"], {"time": round(time.time(), 3), "order": order, "settings": dict(settings), **about})

    def add_without(self, id: str, without: str) -> None:
        """Write down which image shows the same without networks."""
        self._write(id, {**self.read_settings(id), "without": without})

    def path(self, id: str) -> Path:
        """The PNG of an image.  404 where there is none."""
        if not _NAME.fullmatch(id):
            raise HTTPException(404)
        return inside(self.folder, f"{id}.png")

    def path_without(self, id: str) -> Path:
        """The PNG that shows the same without networks.  404 where there is none."""
        self.path(id)
        return inside(self.without_folder, f"{self.read_settings(id).get('without', '')}.png")

    def read_settings(self, id: str) -> dict[str, Any]:
        """How an image was made; empty where that was not written down."""
        try:
            record = parse_json(read_text_file(self.folder / f"{id}.json"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def describe(self, id: str) -> dict[str, Any]:
        """An image as the page shows it."""
        self.path(id)
        record = self.read_settings(id)
        infotext = str(record.get("infotext", ""))
        return {
            "id": id,
            "order": record.get("order", ""),
            "seed": record.get("seed", 0),
            "infotext": infotext,
            "settings": record.get("settings", {}),
            "has_without": bool(record.get("without")),
            "caption": make_caption(infotext),
        }

    def remove(self, id: str) -> None:
        """Delete an image, and the one that was made to compare with it.  E4202 where that is not possible."""
        path, without = self.path(id), str(self.read_settings(id).get("without", ""))
        paths = [self.without_folder / f"{without}.png"] if _NAME.fullmatch(without) else []
        for each in (*paths, path.with_suffix(".json"), path):
            try:
                each.unlink(missing_ok=True)
            except OSError as error:
                template = _("{folder} cannot be written to ({reason}); check the folder's permissions")
                raise TetradError("E4202", template, folder=each.parent, reason=error.strerror) from error

    def _write(self, id: str, record: Mapping[str, Any]) -> None:
        replace_file(self.folder / f"{id}.json", json.dumps(record, ensure_ascii=False).encode())


def make_caption(infotext: str) -> list[str]:
    """Seed, size, sampler and steps of an infotext: `["3", "512 × 512", "DPM++ 2M", "30"]`."""
    last = infotext.rpartition("\n")[2]
    found = (re.search(pattern, last) for pattern in _CAPTION)
    return [match[1].replace("x", " × ") if number == 1 else match[1] for number, match in enumerate(found) if match]
