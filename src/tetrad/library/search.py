"""Find model files by name: checkpoints, trained files, and what a run saved."""

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tetrad.builtin import resolve_model_path
from tetrad.errors import TetradError
from tetrad.formats import file_hashes, weight_files
from tetrad.formats.suffixes import WEIGHT_FILE_SUFFIXES
from tetrad.given_paths import missing_checkpoint_error
from tetrad.library.folders import ModelFolders, list_files, model_folder_specs
from tetrad.library.hashes import get_file_hash, list_file_hashes
from tetrad.library.identification import UNKNOWN, artifact_type, identify
from tetrad.locales import Message, _


def find_file(file_type: str, name: str, folders: ModelFolders) -> Path:
    """The file of this type with a name: its path, its stem, its stem in any case, or `ss_output_name` inside it.

    E5101 for a LoRA that is not found and E5160 for anything else, with the nearest names; the same codes where two
    different files match.
    """
    spec = model_folder_specs()[file_type]
    if not any(folder.is_dir() for folder in folders[file_type]):
        raise TetradError(
            spec.error_code,
            _("{name} cannot be found because there is no folder {folder}; give its folder with {flag}"),
            name=name,
            folder=folders[file_type][0],
            flag=spec.flag,
        )
    paths = list(list_files(file_type, folders))
    for matches in (_matches_path, _matches_stem, _matches_stem_ignoring_case, _matches_output_name):
        matching_paths = [path for path in paths if matches(path, name)]
        if len(matching_paths) > 1:
            same_type_paths = [path for path in matching_paths if _has_file_type(path, file_type)]
            return require_single_file(file_type, name, same_type_paths or matching_paths)
        if matching_paths:
            return matching_paths[0]
    raise _not_found_error(file_type, name, folders, paths)


def _not_found_error(file_type: str, name: str, folders: ModelFolders, paths: Iterable[Path]) -> TetradError:
    """The error for a name that no file has, with the nearest names."""
    spec = model_folder_specs()[file_type]
    code, noun = spec.error_code, Message(spec.noun)
    searched_folders = ", ".join(str(folder) for folder in folders[file_type] if folder.is_dir())
    stems = sorted({get_stem(path) for path in paths if _may_have_file_type(path, file_type)})
    if not stems:
        template = _(
            "there is no {type} called {name}, and there is no {type} at all in {folders}; {flag} names another folder"
        )
        return TetradError(code, template, type=noun, name=name, folders=searched_folders, flag=spec.flag)
    nearest = ", ".join(difflib.get_close_matches(name, stems, n=3, cutoff=0.3) or stems[:3])
    template = _("there is no {type} called {name} in {folders}; the nearest are {nearest}")
    return TetradError(code, template, type=noun, name=name, folders=searched_folders, nearest=nearest)


def find_lora_name_by_hash(name: str, lora_hash: str, folders: ModelFolders) -> str:
    """The local name of the LoRA with this hash; "" where the given name leads to one file, or no file has the hash.

    It is a path where several files have that name.
    """
    try:
        find_file("lora", name, folders)
        return ""
    except TetradError:  # no file has the name, or different files have it
        paths = list(list_files("lora", folders))
    found = next((path for path in paths if lora_hash.lower() in list_file_hashes(path)), None)
    if found is None:
        return ""
    is_only_one = sum(path.stem == found.stem for path in paths) == 1
    return found.stem if is_only_one else found.with_suffix("").as_posix()


def require_single_file(file_type: str, name: str, paths: Sequence[Path]) -> Path:
    """The only file of this name, or the first of identical copies; an error where two differ."""
    first = paths[0]
    for other in paths[1:]:
        if not _are_copies(first, other):
            raise TetradError(
                model_folder_specs()[file_type].error_code,
                _(
                    "{path} and {other_path} are both called {name} and differ; write more of the path, for example"
                    " {example}"
                ),
                path=first,
                other_path=other,
                name=name,
                example=_shorten_path(first, other),
            )
    return first


def _shorten_path(path: Path, other_path: Path) -> str:
    """As much of a path as tells it from another one, with the file extension only where that is the difference."""
    short, other = path.with_suffix(""), other_path.with_suffix("")
    if short == other:
        return path.name
    parts, other_parts = short.parts, other.parts
    count = next(n for n in range(1, len(parts) + 1) if parts[-n:] != other_parts[-n:])
    return "/".join(parts[-count:])


def _are_copies(path: Path, other_path: Path) -> bool:
    are_both_files = path.is_file() and other_path.is_file()
    return (
        are_both_files
        and path.stat().st_size == other_path.stat().st_size
        and get_file_hash(path) == get_file_hash(other_path)
    )


def _matches_path(path: Path, name: str) -> bool:
    return f"/{path.as_posix()}".endswith(f"/{name}") or f"/{path.with_suffix('').as_posix()}".endswith(f"/{name}")


def _matches_stem(path: Path, name: str) -> bool:
    return get_stem(path) == name


def _matches_stem_ignoring_case(path: Path, name: str) -> bool:
    return get_stem(path).lower() == name.lower()


def _matches_output_name(path: Path, name: str) -> bool:
    return path.is_file() and weight_files.read_safetensors_metadata(path).get("ss_output_name") == name


def get_stem(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _has_file_type(path: Path, file_type: str) -> bool:
    return file_type == artifact_type(read_file_type(path))


def _may_have_file_type(path: Path, file_type: str) -> bool:
    """Whether a file is not clearly of another type; only files whose header says it are looked into."""
    names = weight_files.read_tensor_names(path) if path.is_file() else []
    return not names or artifact_type(identify(names)) == file_type


def read_file_type(path: Path) -> str:
    """A file's type by the names of its tensors; "unknown" for a file that cannot be read."""
    if names := weight_files.read_tensor_names(path):
        return identify(names)
    try:
        return identify(weight_files.read_weight_file(path).tensors)
    except TetradError:
        return UNKNOWN


def find_checkpoint(model: str, folders: ModelFolders) -> Path:
    """A model by its path, as `builtin`, or by its name in a web UI's folder.  E5160 where it is not in the folder."""
    path = resolve_model_path(model)
    if path.exists() or len(path.parts) > 1:
        return path
    try:
        return find_file("checkpoint", model, folders)
    except TetradError as error:
        if len(folders["checkpoint"]) > 1:
            raise
        # No folder was given, so the name was meant as a path.
        raise missing_checkpoint_error(path, may_be_name=True) from error


def find_named_checkpoint(name: str, folders: ModelFolders) -> Path:
    """The model that an image names: in the folders, else in the current folder, where commands are usually run.

    E5160 where it is in none of them. The name is from a file of other people, so it never leads to another folder.
    """
    try:
        return find_file("checkpoint", name, folders)
    except TetradError:
        paths = [Path(name + suffix) for suffix in ("", *WEIGHT_FILE_SUFFIXES)] if Path(name).name == name else []
        here = [path for path in paths if path.is_file() or (path / "model_index.json").is_file()]
        if not here:
            raise
        return here[0]


def find_checkpoint_by_legacy_hash(legacy_hash: str, folders: ModelFolders) -> Path | None:
    """The model with this hash of 8 digits, in images before 2023; only a small part of each file is read for it.

    Files that are too small have all the same hash, so they never match.
    """
    if len(legacy_hash) != 8:
        return None
    files = (path for path in list_files("checkpoint", folders) if path.is_file())
    large_files = (path for path in files if path.stat().st_size > file_hashes.LEGACY_HASH_OFFSET)
    wanted = legacy_hash.lower()
    return next((path for path in large_files if file_hashes.compute_file_legacy_hash(path) == wanted), None)


def list_run_files(run_name: str, folders: ModelFolders) -> tuple[str, list[str]]:
    """The file type and the names of what a run saved, by step.  E5162 where there is no such run."""
    candidates = [Path(run_name), *(folder / run_name for folder in folders["lora"])]
    run_folder = next((candidate for candidate in candidates if candidate.is_dir()), None)
    paths = sorted(run_folder.glob("*.*"), key=lambda path: _step_sort_key(path.stem)) if run_folder else []
    paths = [path for path in paths if path.suffix.lower() in WEIGHT_FILE_SUFFIXES]
    if not paths:
        raise TetradError(
            "E5162",
            _("there is no run {run} with saved files in {folders}; give the run's folder"),
            run=run_name,
            folders=", ".join(map(str, folders["lora"])),
        )
    file_type = read_file_type(paths[0])
    return file_type, [path.stem if file_type in model_folder_specs() else str(path) for path in paths]


def _step_sort_key(stem: str) -> tuple[float, str]:
    """By step number; the final result has none and comes last."""
    number = re.search(r"-(?:step)?(\d{6,8})$", stem)
    return (int(number[1]) if number else float("inf"), stem)
