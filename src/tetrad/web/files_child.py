"""The part of `planning_child` that looks for files: what a prompt names, what there is to choose from, and what the
text of an image asks for.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tetrad import library
from tetrad.builtin import BUILTIN_NAME
from tetrad.errors import TetradError
from tetrad.formats import embedding_images, weight_files
from tetrad.formats.suffixes import is_image
from tetrad.generation import prompt_networks
from tetrad.generation.pipeline import resolve_lora_names
from tetrad.generation.prompt_parser import strip_comments
from tetrad.generation.reproduce import parse_hashes
from tetrad.images import png
from tetrad.images.infotext import parse_infotext
from tetrad.library.folders import list_files
from tetrad.library.identification import UNKNOWN
from tetrad.library.search import read_file_type
from tetrad.locales import Message, _
from tetrad.web.drawing.parameters import describe_parameters
from tetrad.web.resident_child import Answers, Request

_NETWORKS = ("lora", "hypernetwork", "embedding")
_MAX_PICKLE_BYTES = 200_000_000  # a larger one is not opened to see what it is: it is what its folder is for
_DESCRIBED_FILES = 20_000


def find_networks(request: Request) -> Answers:
    """The networks and embeddings that the prompts name, with their files."""
    values = request.values
    folders = _open_folders(values["folders"])
    prompt = prompt_networks.extract_networks(values["prompt"])
    networks: list[dict[str, Any]] = []
    loras: list[Path] = []
    for tag in prompt.networks:
        row: dict[str, Any] = {"type": tag.artifact_type, "name": tag.name, "strength": tag.strength, "path": ""}
        try:
            path = library.find_file(tag.artifact_type, tag.name, folders)
            row |= {"path": str(path), "word": _read_word(path)}
            loras += [path] if tag.artifact_type == "lora" else []
        except TetradError as error:
            row["error"] = error.as_record()
        networks.append(row)
    texts = (prompt.text, strip_comments(values["negative_prompt"]))
    for found in library.find_embeddings(texts, folders, loras):
        name = found.bundled_word or found.path.stem
        networks.append({"type": "embedding", "name": name, "strength": 1.0, "path": str(found.path), "word": name})
    yield {"event": "networks", "networks": networks}


def list_choices(request: Request) -> Answers:
    """What there is in the folders: networks by the names that a prompt gives them, models, and VAEs."""
    folders = _open_folders(request.values["folders"])
    runs = request.values["runs"]
    models = list(_describe_models({**folders, "checkpoint": (Path(runs), *folders["checkpoint"][1:])}))
    networks = [row for file_type in _NETWORKS for row in _describe_networks(file_type, folders)]
    vaes = library.list_vaes(Path(BUILTIN_NAME), folders["vae"], folders["checkpoint"])
    yield {
        "event": "choices",
        "networks": networks,
        "models": models,
        "vaes": [{"name": name, "path": str(path)} for name, path in vaes.items() if library.may_be_vae(path)],
    }


def read_parameters(request: Request) -> Answers:
    """The settings in the image at "path" or in "text", and which of the files that it names are here."""
    values = request.values
    folders = _open_folders(values["folders"])
    found = parse_infotext(values["text"] if "text" in values else png.read_infotext(Path(values["path"])))
    settings = describe_parameters(found)
    hashes = parse_hashes(found.parameters, "Lora hashes")
    settings["prompt"] = resolve_lora_names(settings["prompt"], hashes, folders)
    name = settings["model"]
    settings["model_path"] = BUILTIN_NAME if name == BUILTIN_NAME else ""
    if name and name != BUILTIN_NAME:
        try:
            settings["model_path"] = str(library.find_named_checkpoint(name, folders))
        except TetradError:
            reason = Message(_("the model {name}, which is not in your folders"), name=name)
            settings["not_reproducible"].append(reason.as_record())
    yield {"event": "parameters", **settings}


def _describe_networks(file_type: str, folders: library.ModelFolders) -> Iterator[dict[str, Any]]:
    paths = [path for path in list_files(file_type, folders) if _is_of_type(path, file_type, folders)]
    stems = [weight_files.get_stem(path) for path in paths]
    for path, stem in zip(paths, stems, strict=True):
        # Of several files with one name, more of the path is written; an embedding has no such name.
        is_ambiguous = stems.count(stem) > 1 and file_type != "embedding"
        name = f"{path.parent.name}/{stem}" if is_ambiguous else stem
        yield {"type": file_type, "name": name, "path": str(path), "bytes": path.stat().st_size} | {
            "word": stem if file_type == "embedding" else _read_word(path)
        }


def _describe_models(folders: library.ModelFolders) -> Iterator[dict[str, Any]]:
    for path in list_files("checkpoint", folders):
        if _is_of_type(path, "checkpoint", folders):
            yield {"name": weight_files.get_stem(path), "path": str(path)}


def _is_of_type(path: Path, file_type: str, folders: library.ModelFolders) -> bool:
    """Whether a file is of this type; folders of runs have files of all types."""
    if path.is_dir():
        return True
    if is_image(path):
        return embedding_images.has_embedding(path)
    state = path.stat()
    found = _find_type(path, state.st_mtime_ns, state.st_size)
    is_own_folder = not path.is_relative_to(folders[file_type][0])
    return library.artifact_type(found) == file_type or (found == UNKNOWN and is_own_folder)


@lru_cache(maxsize=_DESCRIBED_FILES)
def _find_type(path: Path, changed: int, size: int) -> str:
    """The type of a file in this state; "unknown" for a large pickle, too, which would have to be read as a whole."""
    try:
        names = weight_files.read_tensor_names(path)
        return UNKNOWN if not names and size > _MAX_PICKLE_BYTES else read_file_type(path)
    except (TetradError, OSError):
        return UNKNOWN


def _read_word(path: Path) -> str:
    """The trigger word in a file's metadata; "" where it has none."""
    if path.suffix != ".safetensors" or not path.is_file():
        return ""
    try:
        return weight_files.read_safetensors_metadata(path).get("modelspec.trigger_phrase", "")
    except TetradError:
        return ""


def _open_folders(folders: Mapping[str, str]) -> library.ModelFolders:
    return library.resolve_model_folders(**{name: Path(path) for name, path in folders.items() if path})
