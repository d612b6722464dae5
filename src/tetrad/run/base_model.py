"""Finds the model that a checkpoint was trained on: from the recipe of its run, or from its own metadata."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tetrad.builtin import BUILTIN_NAME
from tetrad.documents import parse_toml, read_text_file
from tetrad.errors import TetradError
from tetrad.formats import weight_files
from tetrad.given_paths import missing_file_error
from tetrad.library import ModelFolders, find_checkpoint
from tetrad.locales import _
from tetrad.paths import expand_path
from tetrad.run.continuation import find_newest_result
from tetrad.run.resume.start import read_working_folder

_RECIPE = "recipe.toml"


def find_base_model(tuned: str, folders: ModelFolders) -> tuple[Path, Path]:
    """The model that a checkpoint was trained on, and the checkpoint; `tuned` is its file, or the folder of its run.

    E5001 where there is no such file, E5325 where nothing says which model that is, or where it is not there any more.
    """
    path = expand_path(find_newest_result(tuned))
    if not path.exists():
        raise missing_file_error(path)
    names = list(dict.fromkeys(_list_names(path)))
    for name in names:
        with suppress(TetradError):
            if (base := find_checkpoint(name, folders)).exists():
                return base, path
    if names:
        template = _("{tuned} was trained on {model}, which is not found; give both files: BASE TUNED")
        raise TetradError("E5325", template, tuned=tuned, model=names[0])
    template = _("{tuned} does not say which model it was trained on; give both files: BASE TUNED")
    raise TetradError("E5325", template, tuned=tuned)


def _list_names(path: Path) -> Iterator[str]:
    """What the model may be called, the likeliest first."""
    folder = path.parent
    if (folder / _RECIPE).is_file():
        with suppress(OSError, ValueError):
            name = str(parse_toml(read_text_file(folder / _RECIPE)).get("model", BUILTIN_NAME))
            if name != BUILTIN_NAME:
                with suppress(TetradError):
                    yield str(read_working_folder(folder) / name)  # relative paths of the recipe start there
            yield name
    if name := weight_files.read_safetensors_metadata(path).get("ss_sd_model_name", ""):
        yield name
        yield str(folder / name)
