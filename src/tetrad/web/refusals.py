"""Files that were not taken into a data set, and why: they are shown until they come again and are taken."""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tetrad.documents import parse_json
from tetrad.formats.atomic_write import replace_file
from tetrad.locales import translate_record
from tetrad.web.data_sets import DataSet
from tetrad.web.uploads import Refusal


class Refusals:
    """The refused files of a set, by name, in a file with a line for each.

    A disk that is full keeps none of them; the answer to the upload says it then.
    """

    def __init__(self, data_set: DataSet) -> None:
        self.data_set = data_set
        self.path: Path = data_set.hidden / "refused.jsonl"

    def add(self, refused: Iterable[Refusal]) -> None:
        with self.data_set.lock:
            known = self._read()
            known |= {each.name: {"code": each.code, **each.reason.as_record()} for each in refused}
            self._write(known)

    def forget(self, names: Iterable[str]) -> None:
        with self.data_set.lock:
            known = self._read()
            if known.keys() & (gone := set(names)):
                self._write({name: reason for name, reason in known.items() if name not in gone})

    def list(self) -> list[dict[str, str]]:
        """Name, code and reason of each file, in the reader's language."""
        return [
            {"name": name, "code": str(reason["code"]), "text": translate_record(reason)}
            for name, reason in self._read().items()
        ]

    def _read(self) -> dict[str, dict[str, Any]]:
        lines = self.path.read_text("utf-8").splitlines() if self.path.exists() else ()
        return dict(parse_json(line) for line in lines)

    def _write(self, known: dict[str, dict[str, Any]]) -> None:
        with suppress(OSError):
            replace_file(self.path, "".join(json.dumps(pair) + "\n" for pair in known.items()).encode())
