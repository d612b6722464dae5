"""What there is to judge: files, their base model, the training images, and how the images are generated."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tetrad import library
from tetrad.builtin import BUILTIN_NAME, resolve_images_path, resolve_model_path
from tetrad.cache_location import get_cache_folder
from tetrad.data.cache_folder import CacheFolder
from tetrad.data.dataset import Photo, collect_photos, exclude_class_images, inspect_photos
from tetrad.errors import TetradError
from tetrad.generation.request import Request
from tetrad.judging.requests import default_sampling, make_request
from tetrad.locales import _
from tetrad.methods.artifact import Artifact
from tetrad.paths import expand_path
from tetrad.run import Checkpoint, artifact_of, find_images, list_checkpoints, read_plan, read_working_folder
from tetrad.run.base_model import find_base_model
from tetrad.run.continuation import read_trigger_word
from tetrad.run.previews import make_overfit_prompts
from tetrad.settings import Data, build_recipe, read_values


@dataclass(frozen=True)
class TrainedFile:
    """A file that was trained: its type, "lora", and whether it is a whole model."""

    path: Path
    type: str
    is_full_model: bool = False
    own_word: str = ""  # the word that stands for it in prompts in place of the trigger word: an embedding's name


@dataclass(frozen=True)
class Candidate:
    """A file to judge, and the step after which it was saved; 0 where that is not known."""

    step: int
    file: TrainedFile

    @property
    def name(self) -> str:
        return self.file.path.name


@dataclass(frozen=True)
class Job:
    """Everything that judging needs; `run` is the folder of the run whose files these are."""

    candidates: tuple[Candidate, ...]
    artifact: Artifact
    model: str  # the untouched one
    images: tuple[Path, ...]
    captions: tuple[str, ...]
    word: str
    class_word: str
    request: Request
    vae: str = "Automatic"
    run: Path | None = None
    sanity_prompts: tuple[str, ...] = ()  # those that check for overfitting


def make_run_job(run: Path, only: Sequence[str] = (), model: str = "", images: str = "") -> Job:
    """The job of a run; `only` are the names of the files to judge, all of them by default.

    `model` and `images` replace those of the run. E5502 where the run has saved no file, or has no plan of a method.
    """
    try:
        plan = read_plan(run)
        artifact = artifact_of(plan)
    except (ValueError, KeyError) as error:
        template = _("{run} has no plan of a training with one of the methods, so there is nothing to judge")
        raise TetradError("E5502", template, run=run) from error
    checkpoints = [each for each in list_checkpoints(run) if not only or each.path.name in only]
    if not checkpoints:
        template = _("{run} has saved no file yet, so there is nothing to judge; train to the end, or save a file")
        raise TetradError("E5502", template, run=run)
    data = plan["data"]
    word, class_word = str(data["trigger_word"]), str(data["class_word"])
    settings = build_recipe(read_values(run / "recipe.toml")).data
    folder = images or _find_from(run, str(data["images"]))
    photos = read_photos(replace(settings, images=folder, trigger_word=word, class_word=class_word), artifact)
    return Job(
        tuple(Candidate(each.step, describe_file(each, artifact)) for each in checkpoints),
        artifact,
        model or _find_from(run, str(plan["model"]["path"])),
        tuple(photo.path for photo in photos),
        tuple(photo.caption for photo in photos),
        word,
        class_word,
        make_request(plan),
        str(plan["model"].get("vae") or "Automatic"),
        run,
        tuple(map(str, plan.get("sample", {}).get("overfit_prompts", ()))),
    )


def make_files_job(paths: Sequence[Path], images: str, model: str = "", word: str = "", class_word: str = "") -> Job:
    """The job of trained files of any origin; `images` is a folder of what they should look like.

    E5502 where files of different types are given together, E5101 for a file that no method writes, E5325 where
    nothing says which model it was trained on.
    """
    types = {path: library.artifact_type(library.read_file_type(path)) for path in paths}
    if len(set(types.values())) > 1:
        raise TetradError("E5502", _("files of different types cannot be judged together; give them one by one"))
    first = paths[0]
    if types[first] not in library.artifact_types():
        template = _("{file} is {found}; give a file that was trained")
        raise TetradError("E5101", template, file=first, found=library.title_of(types[first]))
    artifact = library.method_of(types[first]).artifact
    base = model or str(find_base_model(str(first), library.resolve_folders_around_model(first))[0])
    word = word or read_trigger_word(str(first), artifact)
    data = Data(images=images, trigger_word=word, class_word=class_word)
    photos = read_photos(data, artifact)
    return Job(
        tuple(Candidate(0, describe_file(Checkpoint(0, path), artifact)) for path in paths),
        artifact,
        base,
        tuple(photo.path for photo in photos),
        tuple(photo.caption for photo in photos),
        word,
        class_word,
        default_sampling(base),
        sanity_prompts=make_overfit_prompts([photo.caption for photo in photos], word, class_word),
    )


def read_photos(data: Data, artifact: Artifact) -> list[Photo]:
    """The training images with their captions, without class images.  E4001 … where there are none."""
    listing = find_images(data, data.trigger_word, artifact.requires_trigger_word)
    photos, _problems = collect_photos(listing, inspect_photos(listing, CacheFolder(get_cache_folder())))
    return exclude_class_images(photos)


def describe_file(checkpoint: Checkpoint, artifact: Artifact) -> TrainedFile:
    """What is known of a saved file; an embedding stands in prompts by its file's name."""
    own_word = checkpoint.name if artifact.requires_trigger_word else ""
    return TrainedFile(checkpoint.path, artifact.type, artifact.is_full_model, own_word)


def _find_from(run: Path, name: str) -> str:
    """A model or folder that the run's recipe names; relative paths start in the folder where the run was started."""
    resolves = (resolve_model_path, resolve_images_path)
    if name == BUILTIN_NAME or any(resolve(name).exists() for resolve in resolves):
        return name
    try:
        moved = read_working_folder(run) / expand_path(name)
    except TetradError:
        return name
    return str(moved) if moved.exists() else name
