"""Every model file in the page's folders, with what its header says.  Runs in `planning_child`.

Headers are read once: what a file in a certain state is, is kept in a file of the state folder. Tensors are not read,
except those of small files; `inspection_child` reads them, for one file at a time.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tetrad import library
from tetrad.documents import parse_json, read_text_file
from tetrad.errors import TetradError
from tetrad.formats import stored_tensors, weight_files
from tetrad.formats.atomic_write import replace_file
from tetrad.formats.suffixes import PICKLE_SUFFIXES, WEIGHT_FILE_SUFFIXES, is_image
from tetrad.inspection import inspect_path
from tetrad.library.folders import list_files, walk_visible_files
from tetrad.library.identification import UNKNOWN, identify
from tetrad.library.vae.bake import detect_folder_family
from tetrad.locales import Message, _, message_from_record
from tetrad.methods.lora.detection import detect_family
from tetrad.models.families import FAMILIES
from tetrad.web.places import count_files
from tetrad.web.resident_child import Answers, Request

_SMALL_BYTES = 2_000_000  # such a file is inspected as a whole at once
_MAX_PICKLE_BYTES = 200_000_000  # a larger one has to be read as a whole, which is left until somebody asks for it
_NOT_IN_RUNS = {"resume", "samples"}  # folders of a run without files for people
_STEP = re.compile(r"-(?:step)?(\d{6,8})$")
_PREVIEWS = (".preview.png", ".png", ".preview.jpg", ".jpg", ".preview.jpeg", ".jpeg", ".preview.webp", ".webp")
_VERSION = 1  # of what is kept; another one is read anew


@dataclass(frozen=True)
class Known:
    """What the header of a file says, or a whole file that is small."""

    type: str = UNKNOWN  # as `identify` says it: "lora", "vae", a family's name for a checkpoint
    family: str = ""
    word: str = ""
    hash: str = ""  # as web UIs show it; "": it has to be computed
    content: str = ""  # a hash of the tensors that copies share; "": not known
    problem: Mapping[str, Any] | None = None  # a sentence, as `Message.as_record` stores it


def list_files_of_page(request: Request) -> Answers:
    """The files in the folders "models_dir" and "runs" and those in "models"; "cache" is where what is known is kept.

    {path, name, place, run, step, bytes, changed, type, kind, family, word, hash, preview, copy_of, problems}.
    """
    values = request.values
    cache = Cache(Path(values["cache"]))
    runs = Path(values["runs"])
    models_dir = Path(values["models_dir"]) if values["models_dir"] else None
    rows: dict[Path, dict[str, Any]] = {}
    neighbours: dict[Path, set[str]] = {}
    for path, place, run in _find_files(models_dir, runs, map(Path, values["models"])):
        request.check()
        if (real := path.resolve()) not in rows:
            rows[real] = _describe(path, place, run, cache, neighbours)
    cache.save()
    makers = {row["content"]: row["run"] for row in rows.values() if row["content"] and row["run"]}
    for row in rows.values():
        row["copy_of"] = "" if row["run"] else makers.get(row.pop("content"), "")
        row.pop("content", None)
    yield {"event": "files", "files": list(rows.values())}


class Cache:
    """What is known of files by their path, for as long as their size and time of change stay the same."""

    def __init__(self, file: Path) -> None:
        self.file, self._has_changed = file, False
        self._old = self._read()
        self._new: dict[str, Any] = {}

    def get(self, path: Path, size: int, changed: int) -> Known:
        key, state = str(path), [size, changed]
        entry = self._old.get(key)
        if not isinstance(entry, Mapping) or entry.get("state") != state:
            entry, self._has_changed = {"state": state, **asdict(_read_file(path, size))}, True
        self._new[key] = entry
        return Known(**{name: value for name, value in entry.items() if name != "state"})

    def save(self) -> None:
        """Keep what was read; what of it is lost is read again the next time."""
        if self._has_changed or len(self._new) != len(self._old):
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                replace_file(self.file, json.dumps({"version": _VERSION, "files": self._new}).encode())
            except OSError:
                return

    def _read(self) -> Mapping[str, Any]:
        try:
            content = parse_json(read_text_file(self.file))
        except (OSError, ValueError):
            return {}
        is_known = isinstance(content, dict) and content.get("version") == _VERSION
        return content["files"] if is_known and isinstance(content.get("files"), dict) else {}


def _find_files(models_dir: Path | None, runs: Path, more: Iterator[Path]) -> Iterator[tuple[Path, str, str]]:
    """Each file with the type that its folder is for ("" where it may be any) and its run."""
    for folder in sorted(runs.iterdir()) if runs.is_dir() else ():
        if folder.is_dir() and not folder.name.startswith("."):
            run = folder.name if (folder / "recipe.toml").is_file() else ""
            yield from ((path, "", run) for path in _list_any(folder))
    yield from ((path, "", "") for path in more if path.exists())
    if models_dir is None:
        return
    try:
        folders = library.resolve_model_folders(models_dir, runs if runs.is_dir() else None)
    except TetradError:  # no web UI's folder, but still one with files
        yield from ((path, "", "") for path in _list_any(models_dir))
        return
    own = library.resolve_model_folders(None, runs if runs.is_dir() else None)
    for place in folders:
        theirs = {**folders, place: tuple(each for each in folders[place] if each not in own[place])}
        yield from ((path, place, "") for path in list_files(place, theirs, include_empty=True))


def _list_any(folder: Path) -> Iterator[Path]:
    """The model files below a folder of no special type: weight files, and diffusers folders as one."""
    paths = sorted(walk_visible_files(folder))
    wholes = {path.parent for path in paths if path.name == "model_index.json"}
    yield from sorted(wholes)
    for path in paths:
        is_weights = path.suffix.lower() in WEIGHT_FILE_SUFFIXES
        is_part = any(parent in wholes for parent in path.parents)
        if is_weights and not is_part and not _NOT_IN_RUNS & {*path.relative_to(folder).parts[:-1]}:
            yield path


def _describe(path: Path, place: str, run: str, cache: Cache, neighbours: dict[Path, set[str]]) -> dict[str, Any]:
    try:
        state = path.stat()
    except OSError:  # it went while the folder was read, or is a link to nothing
        state = None
    size = count_files(path)[1] if path.is_dir() else state.st_size if state else 0
    known = cache.get(path, size, state.st_mtime_ns) if state else Known()
    kind = library.artifact_type(known.type)
    stem = path.name if path.is_dir() else weight_files.get_stem(path)
    step = _STEP.search(stem)
    return {
        **{name: value for name, value in asdict(known).items() if name != "problem"},
        "path": str(path),
        "name": path.name,
        "stem": stem,
        "folder": path.parent.name,
        "place": place,
        "run": run,
        "step": int(step[1]) if step and run else -1,
        "bytes": size,
        "changed": state.st_mtime if state else 0.0,
        "state": state.st_mtime_ns if state else 0,
        "kind": kind,
        "what": library.title_of(known.type).as_record(),
        "preview": _find_preview(path, stem, neighbours),
        "problems": [each.as_record() for each in _list_problems(known, kind, place)],
    }


def _list_problems(known: Known, kind: str, place: str) -> Iterator[Message]:
    """What is wrong as far as the header shows it."""
    if known.problem:
        yield message_from_record(known.problem)
    if place and kind not in (place, UNKNOWN) and kind in (*library.artifact_types(), "vae"):
        template = _(
            "it is {type}, but lies in a folder for files of another type, where other programs do not find it"
        )
        yield Message(template, type=library.title_of(known.type))


def _read_file(path: Path, size: int) -> Known:
    """What a file says in its header, or as a whole where that is needed; a problem where it cannot be read."""
    try:
        if path.is_dir():
            family = detect_folder_family(path)
            return Known(family, FAMILIES[family].family_title)
        if size == 0:
            problem = Message(_("it is empty; a download may have broken off"))
            return Known(problem=problem.as_record())
        names = [] if is_image(path) else weight_files.read_tensor_names(path)
        if size <= _SMALL_BYTES or (not names and size <= _MAX_PICKLE_BYTES):
            return _inspect_whole(path)
        if not names:
            return _check_large(path)
        return _read_header(path, identify(names))
    except TetradError as error:
        return Known(problem=error.sentence.as_record())
    except OSError as error:
        template = _("it cannot be read ({reason}); check its permissions")
        return Known(problem=Message(template, reason=error.strerror).as_record())


def _read_header(path: Path, file_type: str) -> Known:
    metadata = weight_files.read_safetensors_metadata(path)
    known = Known(
        file_type,
        FAMILIES[file_type].family_title if file_type in FAMILIES else "",
        metadata.get("modelspec.trigger_phrase", ""),
        content=metadata.get("sshs_model_hash", "").removeprefix("0x"),
    )
    if file_type != "lora":
        return known
    family = detect_family(metadata, weight_files.read_tensor_shapes(path)) or ""
    return replace(known, family=family, hash=known.content[:12])


def _inspect_whole(path: Path) -> Known:
    """A small file, all of which is read: what is wrong with it is known at once."""
    found = inspect_path(str(path))
    family, word = found.facts.get("family", ""), found.facts.get("trigger word", "")
    file_type = found.kind
    if file_type == "checkpoint":
        file_type = next((name for name, each in FAMILIES.items() if each.family_title == family), UNKNOWN)
    sha256 = str(found.facts.get("sha256", ""))
    stored = str(found.metadata.get("sshs_model_hash", "")).removeprefix("0x")
    digits = 12 if file_type == "embedding" else 10
    short = str(found.facts.get("AutoV3", "")) if file_type == "lora" else sha256[:digits]
    problem = found.trouble[0].as_record() if found.trouble else None
    titles = {each.family_title for each in FAMILIES.values()}
    shown_family = family if isinstance(family, str) and family in titles else ""
    return Known(file_type, shown_family, str(word), short, stored or sha256, problem)


def _check_large(path: Path) -> Known:
    """A large file without a readable header: a pickle, which is what its folder is for, or a damaged file."""
    if path.suffix.lower() in PICKLE_SUFFIXES:
        return Known(problem=None)
    next(iter(stored_tensors.iterate_tensors(path)), None)  # raises what is wrong with it
    return Known()


def _find_preview(path: Path, stem: str, neighbours: dict[Path, set[str]]) -> str:
    """The image that web UIs show for a file; "" for none."""
    if is_image(path):
        return str(path)
    folder = path.parent
    if folder not in neighbours:
        try:
            neighbours[folder] = {each.name for each in folder.iterdir()}
        except OSError:
            neighbours[folder] = set()
    found = next((stem + end for end in _PREVIEWS if stem + end in neighbours[folder]), "")
    return str(folder / found) if found else ""
