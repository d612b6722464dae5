"""The base models and VAEs that the page offers, by their files' headers.  Runs in `planning_child`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tetrad import library
from tetrad.builtin import BUILTIN_NAME, resolve_model_path
from tetrad.errors import TetradError
from tetrad.formats.vae import find_vae_keys
from tetrad.formats.weight_files import read_tensor_names
from tetrad.library.folders import list_files
from tetrad.library.identification import UNKNOWN, identify
from tetrad.library.vae.select import VaeChoice
from tetrad.locales import Message
from tetrad.models.families import FAMILIES
from tetrad.web.resident_child import Answers, Request


def list_models(request: Request) -> Answers:
    """The checkpoints below "models_dir" and those in "added", sorted by name, and last the built-in model."""
    folder = request.values["models_dir"]
    found = list(_find_checkpoints(Path(folder))) if folder else []
    added = [Path(path) for path in request.values["added"] if path not in {each["path"] for each in found}]
    found += [each for path in added if path.exists() for each in _describe_checkpoint(path)]
    builtin = {"path": BUILTIN_NAME, "name": BUILTIN_NAME, "family": ""}
    yield {"event": "models", "models": [*sorted(found, key=lambda each: each["name"].lower()), builtin]}


def list_vaes(model: str) -> list[str]:
    """The names of the VAE files around a model's file."""
    path = resolve_model_path(model)
    folders = library.resolve_folders_around_model(path)
    found = library.list_vaes(path, folders["vae"], folders["checkpoint"])
    return [name for name, listed in found.items() if library.may_be_vae(listed)]


def _find_checkpoints(folder: Path) -> Iterator[dict[str, Any]]:
    """Those that can be trained; a file whose header does not say what it is may be one."""
    try:
        folders = library.resolve_model_folders(folder)
    except TetradError:  # no folder of a web UI; `tetrad web` says so when it starts
        return
    own = library.resolve_model_folders()["checkpoint"]
    folders = {**folders, "checkpoint": tuple(each for each in folders["checkpoint"] if each not in own)}
    for path in list_files("checkpoint", folders):
        yield from _describe_checkpoint(path)


def _describe_checkpoint(path: Path) -> Iterator[dict[str, Any]]:
    family = identify(read_tensor_names(path)) if path.is_file() else UNKNOWN
    if family in FAMILIES or family == UNKNOWN:
        title = FAMILIES[family].family_title if family in FAMILIES else ""
        yield {"path": str(path), "name": path.name, "family": title}


def list_mounted_vaes(request: Request) -> Answers:
    """Which VAE the rules choose for each of "models", to generate and to train, and whether one is inside.

    {models: [{path, has_own, used, training}]}, the two as {path, label, reason, warnings}; has_own is None where the
    whole file would have to be read to know it.
    """
    folders = library.resolve_model_folders(
        **{name: Path(path) for name, path in request.values["folders"].items() if path}
    )
    rows = []
    for model in request.values["models"]:
        request.check()
        path = resolve_model_path(model)
        has_own = _has_vae(path)
        used = library.choose_vae(path, vae_folders=folders["vae"], checkpoint_folders=folders["checkpoint"])
        training = library.choose_training_vae(path, "", has_own is False, folders)
        rows.append({"path": model, "has_own": has_own, "used": _pack(used), "training": _pack(training)})
    yield {"event": "vaes", "models": rows}


def _has_vae(path: Path) -> bool | None:
    if path.is_dir():
        return (path / "vae").is_dir()
    names = read_tensor_names(path)
    return bool(find_vae_keys(names)[0]) if names else None


def _pack(choice: VaeChoice) -> dict[str, Any]:
    label = choice.label.as_record() if isinstance(choice.label, Message) else choice.label
    warnings = [warning.as_record() for warning in choice.warnings]
    path = str(choice.path) if choice.path else ""
    return {"path": path, "label": label, "reason": choice.reason.as_record(), "warnings": warnings}
