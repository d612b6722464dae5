"""What was installed into a web UI, in a file in its folder: the hash of each file, by which a change is noticed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.documents import parse_json, read_text_file
from tetrad.formats.atomic_write import convert_write_errors, replace_file
from tetrad.installation.web_uis import Destination

FILE_NAME = "tetrad-installed.json"


@dataclass(frozen=True)
class Receipt:
    """One installed file: its place below the web UI's folder, and the hash of it and of what was put beside it."""

    place: str
    hashes: Mapping[str, str]  # sha256 by place, the file itself first

    def names(self) -> set[str]:
        """What a person may call it."""
        path = Path(self.place)
        return {path.stem, path.name, self.place}


def hash_file(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_receipts(web_ui: Destination) -> list[Receipt]:
    """The receipts of a web UI; none where the file is missing or was changed by hand into something else."""
    try:
        rows = parse_json(read_text_file(web_ui.path / FILE_NAME))["files"]
        receipts = [
            Receipt(str(row["file"]), {str(key): str(value) for key, value in row["sha256"].items()}) for row in rows
        ]
        return [each for each in receipts if each.place in each.hashes]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []


def write_receipts(web_ui: Destination, receipts: list[Receipt]) -> None:
    """Replace the file; without receipts there is none.  E4202 where it cannot be written."""
    rows: list[dict[str, Any]] = [{"file": each.place, "sha256": dict(each.hashes)} for each in receipts]
    path = web_ui.path / FILE_NAME
    with convert_write_errors(path):
        if rows:
            replace_file(path, json.dumps({"files": rows}, ensure_ascii=False, indent=1).encode())
        else:
            path.unlink(missing_ok=True)


def add_receipts(web_ui: Destination, installed: Sequence[Sequence[Path]]) -> None:
    """Remember what was just installed: of each file the paths that are new, the main one first.  E4202 as above."""
    new = []
    for paths in installed:
        places = [path.relative_to(web_ui.path).as_posix() for path in paths]
        new.append(Receipt(places[0], dict(zip(places, map(hash_file, paths), strict=True))))
    known = {each.place: each for each in (*read_receipts(web_ui), *new)}
    if new:
        write_receipts(web_ui, list(known.values()))
