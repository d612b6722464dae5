"""The folders that the page copies trained files to: web UIs that it was told of, and the folder for exports."""

import json
from collections.abc import Iterator
from pathlib import Path

from tetrad.documents import parse_json, read_text_file
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import replace_file
from tetrad.installation import Destination, recognize, require_web_ui
from tetrad.locales import _
from tetrad.web.drawing.choices import make_id


class Destinations:
    """The known ones: those that the page was started with, and those that the person added, kept in a file."""

    def __init__(self, file: Path, models: Path | None, exports: Path) -> None:
        self.file, self.exports = file, exports
        self.given = models

    def list_all(self) -> list[Destination]:
        """The web UIs first, and the folder for exports last."""
        found = [recognize(self.given)] if self.given and self.given.is_dir() else []
        found += [each for path in self._read() if (each := recognize(Path(path)))]
        web_uis = [each for each in found if each]
        return [*dict.fromkeys(web_uis), *self._list_plain(), Destination(self.exports, "")]

    def find(self, id: str) -> Destination:
        """E4321 for an id that is none of the known ones."""
        for each in self.list_all():
            if make_id(str(each.path)) == id:
                return each
        raise TetradError("E4321", _("the folder is not there any more; choose another one"))

    def add(self, text: str) -> Destination:
        """Remember a web UI's folder.  E4321 where it is none, with what was looked for."""
        found = require_web_ui(text)
        known = [str(each) for each in self._read() if str(each) != str(found.path)]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.file, json.dumps({"web_uis": [*known, str(found.path)]}, ensure_ascii=False).encode())
        return found

    def list_added(self) -> list[Destination]:
        """Those that the person added and that are there; the one the page was started with is not among them."""
        found = [each for path in self._read() if (each := recognize(Path(path)))]
        given = recognize(self.given) if self.given and self.given.is_dir() else None
        return [each for each in found if each != given]

    def remove(self, id: str) -> None:
        """Forget a folder that was added.  E4321 where there is none with this id."""
        removed = [str(each.path) for each in self.list_added() if make_id(str(each.path)) == id]
        if not removed:
            raise TetradError("E4321", _("the folder is not there any more; choose another one"))
        kept = [path for path in self._read() if path not in removed]
        replace_file(self.file, json.dumps({"web_uis": kept}, ensure_ascii=False).encode())

    def _list_plain(self) -> Iterator[Destination]:
        """A models folder that is no web UI's as a whole is still a place for exports."""
        if self.given and self.given.is_dir() and recognize(self.given) is None:
            yield Destination(self.given, "")

    def _read(self) -> list[str]:
        try:
            record = parse_json(read_text_file(self.file))
        except (OSError, ValueError):
            return []
        paths = record.get("web_uis") if isinstance(record, dict) else None
        return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
