"""The model files of the page: at a glance, by their headers, inspected as a whole when asked for; known by ids."""

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException

from tetrad import __version__
from tetrad.documents import parse_json, read_text_file
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import replace_file
from tetrad.locales import _, language, message_from_record
from tetrad.paths import expand_path
from tetrad.web.drawing.choices import make_id
from tetrad.web.file_glance import glance
from tetrad.web.places import Places
from tetrad.web.planning import Planning
from tetrad.web.preferences import Preferences
from tetrad.web.resident import Resident

_FRESH_SECONDS = 2.0  # for which a list is taken as it was
_SECONDS = 900.0  # for a whole checkpoint on a slow disk
_IDLE_SECONDS = 120.0
_LOOK_SECONDS = 5.0

Row = dict[str, Any]


class FileLibrary:
    """Asks `planning_child` for the list and `inspection_child` for single files, so that the list need not wait.

    Inspections are kept in the state folder, by the path, size and time of change of the file.
    """

    def __init__(self, places: Places, planning: Planning, preferences: Preferences) -> None:
        self.places, self.planning, self.preferences = places, planning, preferences
        self.child = Resident("tetrad.web.inspection_child", log=places.state / "inspections.log")
        self._folder = places.state / "inspections"
        self._rows: dict[str, Row] = {}
        self._listed = 0.0
        self._inspections: dict[str, dict[str, Any]] = {}
        self._turn = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None

    @property
    def folders(self) -> dict[str, str]:
        """The folders in which VAEs are looked for."""
        folders = {"models_dir": str(self.places.models)} if self.places.models else {}
        return folders | ({"vae_dir": str(self.places.runs)} if self.places.runs.is_dir() else {})

    async def list_rows(self) -> Sequence[Row]:
        """Every file, as `file_list` describes it, with its id, and its inspection where there is one."""
        async with self._turn:
            if time.monotonic() - self._listed > _FRESH_SECONDS:
                models, cache = self.preferences.values.models, self.places.state / "files.json"
                found = await self.planning.list_files(self.places.models, self.places.runs, models, cache)
                self._rows = {make_id(row["path"]): row for row in found}
                self._listed = time.monotonic()
                await asyncio.to_thread(self._keep_list, found)
        return await asyncio.to_thread(self._present)

    async def remember(self) -> Sequence[Row]:
        """The files as they were the last time, at once; where they were never listed, as their folders show them."""
        if not self._rows:
            models = self.preferences.values.models
            found = await asyncio.to_thread(self._read_list)
            found = found or await asyncio.to_thread(self._glance, models)
            self._rows = self._rows or found  # they may have been listed meanwhile
        return await asyncio.to_thread(self._present)

    async def find(self, id: str) -> Row:
        """The file with an id.  404 where there is none."""
        if id not in self._rows:
            self._listed = 0.0
            await self.list_rows()
        if id not in self._rows:
            raise HTTPException(404)
        return {**self._rows[id], "id": id}

    async def inspect(self, id: str) -> dict[str, Any]:
        """What `tetrad inspect` says of a file, as `inspection_child` sends it; an error of it is its only trouble."""
        row = await self.find(id)
        if known := self._read_inspection(row):
            return known
        try:
            found = await self._ask({"do": "inspect", "path": row["path"]})
        except TetradError as error:
            if error.code.startswith("E62"):  # the process, not the file, has a problem
                raise
            found = {"kind": row["kind"], "what": row["what"], "facts": [], "metadata": {}}
            found["trouble"] = [error.sentence.as_record()]
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._path_of(row), json.dumps(found, ensure_ascii=False).encode())
        self._inspections[_key(row)] = found
        return found

    async def add_model(self, text: str) -> Row:
        """Remember a checkpoint outside the page's folders.  E4323 where it is none."""
        path = expand_path(Path(text.strip())).absolute()
        if not text.strip() or not path.exists():
            raise TetradError("E4323", _("there is no file {path} on this computer"), path=text.strip() or "–")
        found = await self._ask({"do": "inspect", "path": str(path)})
        if found["kind"] != "checkpoint":
            template = _("{path} is {type}; give the file or the diffusers folder of a base model")
            raise TetradError("E4323", template, path=path, type=message_from_record(found["what"]))
        await asyncio.to_thread(self.preferences.add_model, str(path))
        self._listed = 0.0
        return await self.find(make_id(str(path)))

    async def describe_vae(self, model: str, vae: str) -> dict[str, Any]:
        """What is to be known of a VAE that a model uses: facts, warnings, error."""
        return await self._ask({"do": "vae", "model": model, "vae": vae, "folders": self.folders})

    async def compare_vaes(self, model: str, vaes: Sequence[str], image: Path, title: str, device: str) -> Row:
        """Make a sheet that compares VAEs: {sheet, rows: [{label, psnr, measured, warnings}]}."""
        name = hashlib.sha256(f"{time.time_ns()}{image}".encode()).hexdigest()[:16]
        out = self.places.state / "vae-sheets" / f"{name}.png"
        out.parent.mkdir(parents=True, exist_ok=True)
        for old in sorted(out.parent.glob("*.png"), key=lambda path: path.stat().st_mtime)[:-20]:
            old.unlink(missing_ok=True)
        about = {"model": model, "vaes": list(vaes), "image": str(image), "title": title, "out": str(out)}
        found = await self._ask(
            {"do": "compare", **about, "device": device, "folders": self.folders, "language": language()}
        )
        if found.pop("holds_device"):
            await self.child.release()  # a GPU's memory is for the training
        return {"sheet": name, "rows": found["rows"]}

    async def outline(
        self, files: Sequence[str], more: Sequence[str], check: str, base: str, blocks: str
    ) -> dict[str, Any]:
        """What is to be known of files before work on them: {files, blocks, presets}, see `file_checks.outline`.

        Raises what the command would say before it begins.
        """
        about = {"files": list(files), "more": list(more), "check": check, "base": base, "blocks": blocks}
        return await self._ask({"do": "outline", **about})

    async def verify(self, path: str, base: str = "") -> dict[str, Any]:
        """What `tetrad verify` says of a file."""
        return await self._ask({"do": "verify", "path": path, "base": base})

    async def diff(self, a: str, b: str) -> dict[str, Any]:
        """What `tetrad diff` says of two files."""
        return await self._ask({"do": "diff", "a": a, "b": b})

    def forget_list(self) -> None:
        """Read the folders again when they are next asked for."""
        self._listed = 0.0

    async def end(self) -> None:
        if self._watch:
            self._watch.cancel()
        await self.child.end()

    async def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._end_when_idle())
        answer = await self.child.answer(request, _SECONDS)
        answer.pop("event")
        return answer

    async def _end_when_idle(self) -> None:
        while not self.child.is_idle or time.monotonic() - self.child.last_used < _IDLE_SECONDS:
            await asyncio.sleep(_LOOK_SECONDS)
        await self.child.release()

    def _present(self) -> Sequence[Row]:
        return [{**row, "id": id, "inspection": self._read_inspection(row)} for id, row in self._rows.items()]

    def _keep_list(self, rows: Sequence[Row]) -> None:
        with suppress(OSError):  # it is only for speed
            content = {"version": __version__, "folders": self._shown_folders, "files": rows}
            replace_file(self._list_path, json.dumps(content).encode())

    def _glance(self, models: Sequence[str]) -> dict[str, Row]:
        return {make_id(row["path"]): row for row in glance(self.places.models, self.places.runs, models)}

    def _read_list(self) -> dict[str, Row]:
        with suppress(OSError, ValueError, KeyError, TypeError):
            content = parse_json(read_text_file(self._list_path))
            if content["version"] == __version__ and content["folders"] == self._shown_folders:
                return {make_id(row["path"]): row for row in content["files"]}
        return {}

    @property
    def _list_path(self) -> Path:
        return self.places.state / "file-list.json"

    @property
    def _shown_folders(self) -> list[str]:
        return [str(self.places.models or ""), str(self.places.runs)]

    def _read_inspection(self, row: Row) -> dict[str, Any] | None:
        key = _key(row)
        if key not in self._inspections and self._path_of(row).is_file():
            with suppress(OSError, ValueError):
                self._inspections[key] = parse_json(read_text_file(self._path_of(row)))
        return self._inspections.get(key)

    def _path_of(self, row: Row) -> Path:
        return self._folder / f"{_key(row)}.json"


def _key(row: Row) -> str:
    return make_id(f"{row['path']}\0{row['bytes']}\0{row['state']}")
