"""Resume points: what a run needs to continue exactly, written so that a crash never leaves a broken one in use.

A point is a folder `step-00000120` with `state.safetensors`, `state.json` and `manifest.json`, which has the size and
the sha256 of the other two. It is written under another name, flushed to disk and renamed when it is complete.
"""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from tetrad.documents import parse_json, read_text_file
from tetrad.errors import TetradError
from tetrad.formats.tensors import unshare_tensors
from tetrad.formats.weight_files import read_weight_file
from tetrad.locales import Message, _
from tetrad.training.state import TrainingState

FOLDER = "resume"  # in the folder of a run
KEPT_POINTS = 2
_POINT_NAME = re.compile(r"step-(\d{8})")
_UNFINISHED = ".unfinished-"  # how the name of a point begins until it is complete; it ends with the process
_UNFINISHED_NAME = re.compile(rf"{re.escape(_UNFINISHED)}{_POINT_NAME.pattern}-\d+")
_TENSORS, _VALUES, _MANIFEST = "state.safetensors", "state.json", "manifest.json"


class DamagedPoint(Exception):
    """A resume point that cannot be used; the argument is the reason."""


@dataclass(frozen=True)
class ResumePoint:
    """The state of a run after `step`."""

    step: int
    state: TrainingState


def write_point(folder: Path, point: ResumePoint) -> Path:
    """Write a point into the folder `resume` of a run, then remove all but the two newest.

    Raises OSError, and E7002 for weights with NaN or Inf, which are not written.
    """
    refuse_not_finite(point.step, point.state.tensors.values())
    name = f"step-{point.step:08d}"
    path, staged = folder / name, folder / f"{_UNFINISHED}{name}-{os.getpid()}"
    staged.mkdir(parents=True)
    try:
        save_file(unshare_tensors(point.state.tensors), staged / _TENSORS)
        (staged / _VALUES).write_text(json.dumps({"step": point.step, "values": point.state.values}), "utf-8")
        files = {file: _flush_and_describe(staged / file) for file in (_TENSORS, _VALUES)}
        (staged / _MANIFEST).write_text(json.dumps({"format": 1, "files": files}), "utf-8")
        _flush(staged / _MANIFEST)
        _flush(staged)
        if path.exists():  # of a run that went on from an older point, because this one was damaged
            shutil.rmtree(path)
        staged.rename(path)
        _flush(folder)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise OSError(str(error)) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    prune_points(folder)
    return path


def refuse_not_finite(step: int, tensors: Iterable[Tensor]) -> None:
    """E7002 where a tensor of what was trained until a step contains NaN or Inf."""
    for tensor in tensors:
        if tensor.is_floating_point() and tensor.numel():
            extremes = tensor.aminmax()
            if not (extremes.min.isfinite() and extremes.max.isfinite()):
                template = _(
                    "what was trained until step {step} contains NaN or Inf, so it is not saved; train again with a"
                    " lower learning rate, for example a third"
                )
                raise TetradError("E7002", template, step=step)


def list_points(folder: Path) -> list[Path]:
    """The complete points of a run, the newest first."""
    found = [path for path in folder.iterdir() if _POINT_NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, reverse=True)


def prune_points(folder: Path, kept: int = KEPT_POINTS) -> None:
    """Remove all but the newest points, and whatever a killed run left unfinished; a file in use stays."""
    unfinished = [path for path in folder.iterdir() if is_unfinished_point(path)] if folder.is_dir() else []
    for path in (*list_points(folder)[kept:], *unfinished):
        shutil.rmtree(path, ignore_errors=True)


def is_unfinished_point(path: Path) -> bool:
    """Whether this is a point that was being written when its process was killed, by its name."""
    return path.parent.name == FOLDER and _UNFINISHED_NAME.fullmatch(path.name) is not None


def read_step(path: Path) -> int:
    """The step of a point, from its name."""
    return int(path.name.removeprefix("step-"))


def read_point(path: Path) -> ResumePoint:
    """A point that is exactly as it was written.  DamagedPoint where it is not."""
    try:
        manifest = parse_json(read_text_file(path / _MANIFEST))
        for file in (_TENSORS, _VALUES):
            if manifest["files"][file] != _describe(path / file):
                raise DamagedPoint(Message(_("{file} has changed since it was written"), file=file))
        record = parse_json(read_text_file(path / _VALUES))
        tensors = read_weight_file(path / _TENSORS).tensors
        return ResumePoint(record["step"], TrainingState(tensors, record["values"]))
    except OSError as error:
        raise DamagedPoint(error.strerror or error) from error
    except (ValueError, KeyError, TypeError, TetradError) as error:
        raise DamagedPoint(Message(_("it cannot be read"))) from error


def read_newest_point(folder: Path, before: float = math.inf) -> tuple[ResumePoint | None, list[tuple[Path, object]]]:
    """The newest point of a step before this one that is whole, and newer ones that are damaged, with the reasons."""
    damaged: list[tuple[Path, object]] = []
    for path in list_points(folder):
        if int(path.name.removeprefix("step-")) >= before:
            continue
        try:
            return read_point(path), damaged
        except DamagedPoint as error:
            damaged.append((path, error.args[0]))
    return None, damaged


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _flush_and_describe(path: Path) -> dict[str, Any]:
    _flush(path)
    return _describe(path)


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; Windows cannot flush a folder."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
