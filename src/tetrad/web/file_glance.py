"""The model files of the page as their folders show them, at once: nothing in them is read, and no torch is needed.

`file_list` says more of them, in a child process, which has to load its libraries first.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tetrad.formats.suffixes import WEIGHT_FILE_SUFFIXES
from tetrad.methods import METHODS

_NOT_IN_RUNS = {"resume", "samples"}  # folders of a run without files for people
_VAE_FOLDERS = ("models/VAE", "models/vae")
_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("type", "family", "word", "hash", "preview", "copy_of"), ""),
    "what": {"text": "", "template": ""},
    "problems": [],
    "is_read": False,
}


def glance(models_dir: Path | None, runs: Path, models: Iterable[str]) -> list[dict[str, Any]]:
    """Every file with its name, size, time of change, and the type that its folder is for: rows as of `file_list`."""
    rows = {path: {"path": str(path), "kind": kind, "run": run} for path, kind, run in _find(models_dir, runs, models)}
    return [described for path, row in rows.items() if (described := _describe(path, row))]


def _find(models_dir: Path | None, runs: Path, models: Iterable[str]) -> Iterator[tuple[Path, str, str]]:
    """Each file, the type that its folder is for ("" where it may be any), and its run."""
    for folder in runs.iterdir() if runs.is_dir() else ():
        if folder.is_dir() and not folder.name.startswith("."):
            run = folder.name if (folder / "recipe.toml").is_file() else ""
            yield from ((path, "", run) for path in _walk(folder))
    yield from ((Path(path), "checkpoint", "") for path in models)
    if models_dir is None:
        return
    root = models_dir.parent if models_dir.name.lower() == "models" else models_dir
    artifacts = [method.artifact for method in METHODS.values()]
    kinds = {**{artifact.type: artifact.folders for artifact in artifacts}, "vae": _VAE_FOLDERS}
    folders = [(root / name, kind) for kind, names in kinds.items() for name in names if (root / name).is_dir()]
    for folder, kind in folders or [(models_dir, "")]:
        yield from ((path, kind, "") for path in _walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    """The weight files below a folder, and diffusers folders as one; nothing hidden."""
    for place, folders, names in os.walk(folder):
        if "model_index.json" in names:
            folders.clear()
            yield Path(place)
            continue
        folders[:] = [each for each in folders if not each.startswith(".") and each not in _NOT_IN_RUNS]
        for name in names:
            if name.lower().endswith(WEIGHT_FILE_SUFFIXES) and not name.startswith("."):
                yield Path(place, name)


def _describe(path: Path, row: dict[str, Any]) -> dict[str, Any] | None:
    """A row of the library; None for a file that went meanwhile."""
    try:
        state = path.stat()
    except OSError:
        return None
    size = 0 if path.is_dir() else state.st_size
    about = {"name": path.name, "folder": path.parent.name, "place": row["kind"], "step": -1}
    return {**_NOTHING, **row, **about, "bytes": size, "changed": state.st_mtime, "state": state.st_mtime_ns}
