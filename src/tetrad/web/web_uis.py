"""The folders to copy trained files to: web UIs, recognized by their subfolders, and folders for exports."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.documents import parse_json, read_text_file
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import (
    convert_write_errors,
    make_temporary_folder,
    replace_file,
    stage_replacement,
)
from tetrad.locales import _
from tetrad.methods.artifact import Artifact
from tetrad.paths import expand_path
from tetrad.web.drawing.choices import make_id
from tetrad.web.file_names import make_safe_stem

_FORGE_MARKS = ("modules_forge", "backend/nn")
_A1111_MARKS = ("models/Stable-diffusion", "models/Lora", "embeddings")
_COMFYUI_MARKS = ("models/checkpoints", "models/loras", "models/embeddings")
_MAX_NAME = 80
_COPY_BYTES = 1 << 22
_COMFYUI_FOLDERS = ("models/checkpoints", "models/diffusers", "models/loras", "models/embeddings")


@dataclass(frozen=True)
class Destination:
    """A folder that files are copied to; `program` is A1111, Forge, ComfyUI, or "" for a plain folder."""

    path: Path
    program: str

    @property
    def id(self) -> str:
        return make_id(str(self.path))

    def folder(self, artifact: Artifact) -> Path:
        """Where files of this type go in it: the first subfolder of its web UI that exists."""
        if not self.program:
            return self.path
        is_comfyui = self.program == "ComfyUI"
        # Hypernetworks have one folder of the same name in all of them.
        known = [each for each in artifact.folders if (each in _COMFYUI_FOLDERS) == is_comfyui] or artifact.folders
        return self.path / next((each for each in known if (self.path / each).is_dir()), known[0])


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
            if each.id == id:
                return each
        raise TetradError("E4321", _("the folder is not there any more; choose another one"))

    def add(self, text: str) -> Destination:
        """Remember a web UI's folder.  E4321 where it is none, with what was looked for."""
        path = expand_path(Path(text.strip())).absolute()
        if not text.strip() or not path.is_dir():
            template = _("{path} is not a folder on this computer; give the folder that the web UI is installed in")
            raise TetradError("E4321", template, path=text.strip() or "–")
        found = recognize(path)
        if found is None:
            template = _(
                "{path} is not a folder of A1111, Forge or ComfyUI: it has neither {a1111} nor {comfyui}; give the"
                " folder that the web UI is installed in"
            )
            raise TetradError("E4321", template, path=path, a1111=_A1111_MARKS[0], comfyui=_COMFYUI_MARKS[0])
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
        removed = [str(each.path) for each in self.list_added() if each.id == id]
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


def recognize(path: Path) -> Destination | None:
    """The web UI whose folder this is, or whose `models` folder; None where it is none."""
    for root in (path, path.parent) if path.name.lower() == "models" else (path,):
        if any((root / mark).is_dir() for mark in _FORGE_MARKS):
            return Destination(root, "Forge")
        for kind, marks in (("ComfyUI", _COMFYUI_MARKS), ("A1111", _A1111_MARKS)):
            if any((root / mark).is_dir() for mark in marks):
                return Destination(root, kind)
    return None


@dataclass(frozen=True)
class Copy:
    """A file, what it is to be called, and what goes beside it by the end of its name."""

    source: Path
    target: Path
    preview: Path | None = None
    about: Mapping[str, Any] | None = None

    def run(self) -> None:
        """Copy it; nothing that is there is replaced, and no half of a file is ever there.  E4202."""
        with convert_write_errors(self.target):
            self.target.parent.mkdir(parents=True, exist_ok=True)
            _copy_file(self.source, self.target)
            if self.preview:
                _copy_file(self.preview, self.target.with_name(f"{self.target.stem}.preview.png"))
            if self.about:
                text = json.dumps(self.about, ensure_ascii=False, indent=4)
                replace_file(self.target.with_name(f"{self.target.stem}.json"), text.encode())


def check_name(name: str) -> str:
    """A name for a file that prompts name too.  E4322 for one that some system or prompt cannot have."""
    safe = make_safe_stem(name)[:_MAX_NAME]
    if name != safe:
        template = _("'{name}' cannot be the name of a file that prompts name; '{safe}' can")
        raise TetradError("E4322", template, name=name, safe=safe)
    return name


def choose_free_name(folder: Path, name: str, suffix: str) -> str:
    """The name, numbered where a file in any spelling, or what would lie beside it, is there already."""
    try:
        taken = {each.name.casefold() for each in folder.iterdir()}
    except OSError:
        taken = set()
    ends = (suffix, ".json", ".preview.png")
    names = (name if number == 1 else f"{name}-{number}" for number in range(1, len(taken) + 2))
    return next(each for each in names if not any(f"{each}{end}".casefold() in taken for end in ends))


def _copy_file(source: Path, target: Path) -> None:
    if source.is_dir():
        staged_folder = make_temporary_folder(target)
        shutil.copytree(source, staged_folder, dirs_exist_ok=True)
        staged_folder.rename(target)
        return
    with stage_replacement(target) as staged, source.open("rb") as old, staged.open("wb") as new:
        while piece := old.read(_COPY_BYTES):
            new.write(piece)
