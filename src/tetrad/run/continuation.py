"""Continue from a trained file: find it, keep its word, name and format, and write the result over it if asked to."""

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from tetrad import library
from tetrad.errors import TetradError
from tetrad.formats import diffusers, weight_files
from tetrad.formats.atomic_write import make_temporary_folder, remove_left_behind, stage_replacement
from tetrad.formats.suffixes import WEIGHT_FILE_SUFFIXES, is_image
from tetrad.locales import Message, _
from tetrad.methods.artifact import Artifact
from tetrad.paths import expand_path
from tetrad.run.events import Event, Note, Saved
from tetrad.run.status import read_status
from tetrad.settings import Recipe
from tetrad.settings.field import replace
from tetrad.storage.addresses import is_address
from tetrad.weights import Weights

_RESULTS = (".safetensors", ".pt")
_STEP_SUFFIX = re.compile(r"-step\d{8}$")  # of a file that was saved during a run


def read_trained_steps(start: Weights | None) -> int:
    """The number of steps in a trained file's metadata; 0 where there is none."""
    metadata = start.metadata if start else {}
    steps = metadata.get("step") or metadata.get("ss_steps") or "0"
    return int(steps) if steps.isdigit() else 0


def locate_start(recipe: Recipe) -> Recipe:
    """The recipe with `continue_from` as a file, where a run's folder is given.

    If that file is a whole checkpoint and the recipe names no model, it becomes the model too.
    """
    if not recipe.continue_from:
        return recipe
    path = find_newest_result(recipe.continue_from)
    is_model = recipe.method.artifact.is_full_model and recipe.model == Recipe.model
    return replace(recipe, continue_from=path, model=path if is_model else recipe.model)


def find_newest_result(start: str) -> str:
    """The file that a run saved last, if its folder is given; else the path itself.

    E5162 where there is no file, E5166 where the run is unfinished.
    """
    folder = expand_path(start)
    if not (folder / "recipe.toml").is_file():
        return start
    if (folder / "resume").is_dir() and (status := read_status(folder)).state != "finished":
        raise TetradError(
            "E5166",
            _(
                "the run {folder} is unfinished: step {step} of {steps}; finish it with: {command}; or give one of its"
                " files to start a new run from it"
            ),
            command=shlex.join(["tetrad", "resume", str(folder)]),
            folder=folder,
            step=status.step,
            steps=status.steps or "?",
        )
    saved = [path for path in folder.iterdir() if path.suffix in _RESULTS or diffusers.is_folder(path)]
    if not saved:
        raise TetradError(
            "E5162", _("the run folder {folder} has no trained file to continue from; give another"), folder=folder
        )
    return str(max(saved, key=lambda path: (path.stem == folder.name or not _STEP_SUFFIX.search(path.stem), path.stem)))


def read_trigger_word(path: str, artifact: Artifact) -> str:
    """The trigger word of a trained file, from its metadata; an embedding without one has its name as word.

    "" for no file, and for a file that names none.
    """
    if not path:
        return ""
    file = expand_path(path)
    if artifact.requires_trigger_word:
        content = weight_files.read_weight_file(file)
        return content.metadata.get("modelspec.trigger_phrase") or _STEP_SUFFIX.sub("", content.stem)
    return weight_files.read_safetensors_metadata(file).get("modelspec.trigger_phrase", "") if file.is_file() else ""


def name_of(path: str) -> str:
    """The name of a trained file or diffusers folder, without its extension and without the step it was saved at."""
    file = expand_path(path)
    has_suffix = file.suffix.lower() in WEIGHT_FILE_SUFFIXES
    return _STEP_SUFFIX.sub("", file.stem if has_suffix or is_image(file) else file.name)


def check_replaceable(path: str, artifact: Artifact, file_format: str) -> None:
    """E3159 where the run cannot write over the file that it continues from, because it writes another kind of file."""
    if is_address(path):
        template = _("--replace cannot write over {file}, because it is in object storage; leave out --replace")
        raise TetradError("E3159", template, file=path)
    suffix = library.formats_of(artifact.type)[file_format].suffix  # "" for a folder
    file = expand_path(path)
    if suffix != ("" if file.is_dir() else file.suffix.lower()):
        raise TetradError(
            "E3159",
            _(
                "--replace cannot write over {file}, because save.format = {format} writes {expected}; leave out"
                " --replace, or set save.format to the format of the file"
            ),
            file=path,
            format=file_format,
            expected=suffix or Message(_("a folder")),
        )


def write_over_start(path: str, result: Path, step: int) -> Iterator[Event]:
    """Write the result over the file that the run continued from, and say where the old one is; W4202 where it fails.

    The result stays in the run's folder either way, so a failure does not end the run.
    """
    try:
        start, backup = _replace_start(path, result)
    except OSError as error:
        template = _("{file} cannot be written over ({reason}); the result is in {result}")
        yield Note(Message(template, file=path, reason=error.strerror or error, result=result), "W4202")
        return
    yield Saved(step, start)
    yield Note(Message(_("the file from before is kept as {backup}"), backup=backup))


def _replace_start(path: str, result: Path) -> tuple[Path, Path]:
    """Copy the result over the file that the run continued from; returns that file and the old one's backup.

    The backup lies beside it and ends in `.bak`, which no other program reads as weights.  Raises OSError.
    """
    start = expand_path(path).resolve()  # a link stays a link
    backup = _find_unused(start.with_name(f"{start.name}.bak"))
    remove_left_behind(start.parent)
    if result.is_dir():
        staged = make_temporary_folder(start)
        shutil.copytree(result, staged, dirs_exist_ok=True)
        start.rename(backup)
        staged.rename(start)
        return start, backup
    with stage_replacement(start) as staged:
        shutil.copyfile(result, staged)
        _link_or_copy(start, backup)
    return start, backup


def _find_unused(path: Path) -> Path:
    candidates = (path.with_name(f"{path.name}{number or ''}") for number in (0, *range(2, 10_000)))
    return next(candidate for candidate in candidates if not candidate.exists())


def _link_or_copy(path: Path, copy: Path) -> None:
    """A second name for a file, or a copy where the disk has no links."""
    try:
        os.link(path, copy)
    except OSError:
        shutil.copy2(path, copy)
