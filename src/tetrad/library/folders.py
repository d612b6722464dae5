"""Folders of model files: those of A1111, Forge and ComfyUI, those given with flags, and `runs`."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.formats.suffixes import WEIGHT_FILE_SUFFIXES
from tetrad.locales import _
from tetrad.methods import METHODS, folder_flags
from tetrad.methods.artifact import VAE_FOLDERS
from tetrad.paths import expand_path

_RUNS_FOLDER = Path("runs")  # where training saves its results


@dataclass(frozen=True)
class _ModelFolderSpec:
    """Where web UIs keep files of one type, and how errors about them are worded."""

    noun: str  # "LoRA"
    subfolders: tuple[str, ...]  # below a web UI's folder: A1111's and Forge's, then ComfyUI's
    flag: str
    error_code: str  # where a file is not found
    image_suffixes: tuple[str, ...] = ()  # of images that may have such a file inside


ModelFolders = Mapping[str, tuple[Path, ...]]  # by file type, in the order in which they are searched


def model_folder_specs() -> dict[str, _ModelFolderSpec]:
    """The folders for each method's type of weights and for VAEs."""
    artifacts = (method.artifact for method in METHODS.values())
    specs = {
        artifact.type: _ModelFolderSpec(
            artifact.noun, artifact.folders, artifact.folder_flag, artifact.not_found, artifact.image_suffixes
        )
        for artifact in artifacts
    }
    return specs | {"vae": _ModelFolderSpec(_("VAE"), VAE_FOLDERS, "--models-dir", "E5160")}


def resolve_model_folders(
    models_dir: Path | None = None, vae_dir: Path | None = None, **own_folders: Path | None
) -> ModelFolders:
    """The folders to search for each file type: the one given for it (`lora_dir=`) or `runs`, then the web UI's.

    `models_dir` is the folder of A1111, Forge or ComfyUI, or the `models` folder in it.  E5161 where it is not one, or
    where a given folder does not exist.
    """
    specs = model_folder_specs()
    file_types = {name: artifact.type for name, artifact in folder_flags().items()} | {"vae_dir": "vae"}
    given_folders = {
        file_types[name]: expand_path(folder) for name, folder in ({"vae_dir": vae_dir} | own_folders).items() if folder
    }
    for file_type, folder in given_folders.items():
        if not folder.is_dir():
            raise TetradError(
                "E5161",
                _("{flag} {path} is not a folder; give the folder that contains the files"),
                flag="--vae-dir" if file_type == "vae" else specs[file_type].flag,
                path=folder,
            )
    folder_lists = {file_type: [given_folders.get(file_type, _RUNS_FOLDER)] for file_type in specs}
    if models_dir is not None:
        for file_type, folders in _find_web_ui_folders(expand_path(models_dir)).items():
            folder_lists[file_type] += folders
    return {file_type: tuple(folders) for file_type, folders in folder_lists.items()}


def _find_web_ui_folders(models_dir: Path) -> dict[str, list[Path]]:
    """The folders for each file type below a web UI's folder.  E5161 where there are none at all."""
    specs = model_folder_specs()
    root = models_dir.parent if models_dir.resolve().name.lower() == "models" else models_dir
    web_ui_folders = {
        file_type: [root / subfolder for subfolder in spec.subfolders if (root / subfolder).is_dir()]
        for file_type, spec in specs.items()
    }
    if any(web_ui_folders.values()):
        return web_ui_folders
    subfolders = ", ".join(subfolder for spec in specs.values() for subfolder in spec.subfolders[:1])
    if models_dir.is_dir():
        template = _("{path} is not a folder of A1111, Forge or ComfyUI: it has none of the subfolders {subfolders}")
    else:
        template = _(
            "{path} does not exist; give the folder of A1111, Forge or ComfyUI, which has subfolders such as"
            " {subfolders}"
        )
    raise TetradError("E5161", template, path=models_dir, subfolders=subfolders)


def resolve_folders_around_model(model: Path) -> ModelFolders:
    """The folders of the web UI that a checkpoint's file is in, if it is in one, and `runs`."""
    parents = [parent for parent in model.absolute().parents if parent.name.lower() == "models"]
    subfolders = model_folder_specs()["checkpoint"].subfolders
    for models_dir in parents:
        if any((models_dir.parent / subfolder).is_dir() for subfolder in subfolders):
            return resolve_model_folders(models_dir)
    return resolve_model_folders()


def list_files(file_type: str, folders: ModelFolders, include_empty: bool = False) -> Iterator[Path]:
    """The files in the folders for a file type and in all their subfolders, each once; no hidden or empty files.

    With `include_empty` empty files too, such as those of a download that broke off.

    A diffusers folder with a whole model counts as one file. Images are listed too where such a file may be inside
    one, except previews.
    """
    seen = set()
    image_suffixes = model_folder_specs()[file_type].image_suffixes
    for folder in folders[file_type]:
        paths = sorted(walk_visible_files(folder))
        diffusers_folders = {path.parent for path in paths if path.name == "model_index.json"}
        for path in sorted({*paths, *diffusers_folders}):
            if diffusers_folders & {*path.parents}:
                continue
            suffix = path.suffix.lower()
            may_fit = suffix in WEIGHT_FILE_SUFFIXES or (suffix in image_suffixes and not _is_preview(path))
            is_weight_file = may_fit and path.is_file() and (include_empty or path.stat().st_size > 0)
            is_diffusers_model = file_type == "checkpoint" and path in diffusers_folders
            if (is_weight_file or is_diffusers_model) and (real := path.resolve()) not in seen:
                seen.add(real)
                yield path


def _is_preview(path: Path) -> bool:
    """Whether an image is only a preview: `NAME.preview.png`, as A1111 calls them, or one of a training run."""
    return path.stem.lower().endswith(".preview") or (path.parent.parent / "recipe.toml").is_file()


def walk_visible_files(folder: Path) -> Iterator[Path]:
    """The files below a folder that are not hidden; links to folders are followed, and each folder is visited once.

    A single file may stand in place of a folder.
    """
    if folder.is_file():
        yield folder
    seen = set()
    for current_folder, subfolders, names in os.walk(folder, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        if (real := os.path.realpath(current_folder)) in seen:
            subfolders.clear()
            continue
        seen.add(real)
        yield from (Path(current_folder, name) for name in names if not name.startswith("."))
