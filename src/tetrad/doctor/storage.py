"""Check the disk of the results, the cache folder, and which model files are found."""

import os
import shutil
import time
from pathlib import Path

from tetrad.builtin import MODEL_PATH
from tetrad.cache_location import get_cache_folder
from tetrad.doctor.report import Check
from tetrad.doctor.temporary_folder import make_temporary_folder
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import replace_file
from tetrad.library.folders import list_files, resolve_model_folders
from tetrad.locales import Message, _, ngettext
from tetrad.run.disk import find_existing_folder
from tetrad.sizes import format_size

_LABELS = {"disk": _("disk"), "writing": _("writing"), "cache": _("cache"), "models": _("models")}
_ENOUGH_DISK, _LITTLE_DISK = 10_000_000_000, 1_000_000_000  # a DreamBooth run of Stable Diffusion 1 writes several GB
_TEST_BYTES = 4_000_000
_SLOW_SECONDS = 2.0
_SHOWN_MODELS = 5


def check_disk(out: Path) -> Check:
    """The free space where results are saved."""
    folder = find_existing_folder(out)
    free = shutil.disk_usage(folder).free
    found = Message(_("{free} are free for {folder}"), free=format_size(free), folder=out)
    if free < _LITTLE_DISK:
        advice = Message(_("free some space, or save elsewhere with --out"))
        return Check("disk", _LABELS["disk"], "bad", found, advice)
    if free < _ENOUGH_DISK:
        advice = Message(_("this is enough for LoRA and embeddings; DreamBooth writes whole models of 2 to 7 GB"))
        return Check("disk", _LABELS["disk"], "warn", found, advice)
    return Check("disk", _LABELS["disk"], "ok", found)


def check_writing(out: Path) -> Check:
    """Whether a file can be written, flushed, renamed over another one and read back, as every saved file is."""
    folder, content = find_existing_folder(out), os.urandom(_TEST_BYTES)
    try:
        with make_temporary_folder(folder) as temporary:
            (place := temporary / "files").mkdir()
            start = time.monotonic()
            replace_file(place / "test", b"old")
            replace_file(place / "test", content)
            seconds = time.monotonic() - start
            is_same = (place / "test").read_bytes() == content
            leftovers = [path.name for path in place.iterdir() if path.name != "test"]
    except OSError as error:
        return _refused("writing", folder, error)
    values = {"folder": folder, "seconds": seconds, "size": format_size(_TEST_BYTES)}
    if not is_same or leftovers:
        found = Message(_("a file written in {folder} did not come back as it was written"), **values)
        advice = Message(_("the disk or the network drive is faulty; save elsewhere with --out"))
        return Check("writing", _LABELS["writing"], "bad", found, advice)
    found = Message(_("{size} written, flushed, renamed and read back in {folder} in {seconds:.2f} s"), **values)
    if seconds > _SLOW_SECONDS:
        advice = Message(_("this disk is slow, so saving will take long; a local disk is better for --out"))
        return Check("writing", _LABELS["writing"], "warn", found, advice)
    return Check("writing", _LABELS["writing"], "ok", found)


def check_cache() -> Check:
    """Whether the cache folder can be written; runs work without it, but encode every image again."""
    folder = get_cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / "doctor", b"test")
        (folder / "doctor").unlink()
    except OSError as error:
        found = Message(_("{folder} cannot be written ({reason})"), folder=folder, reason=error.strerror)
        advice = Message(_("every run then encodes all images again; set TETRAD_CACHE to a folder that can be written"))
        return Check("cache", _LABELS["cache"], "warn", found, advice)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Check("cache", _LABELS["cache"], "ok", Message(_("{folder}, {size}"), folder=folder, size=format_size(size)))


def check_models(models_dir: Path | None) -> Check:
    """The built-in model, and the checkpoints in the folder of a web UI."""
    if not MODEL_PATH.is_file():
        advice = Message(_("the installation is not complete; install Tetrad again"))
        return Check("models", _LABELS["models"], "bad", Message(_("the built-in model is missing")), advice)
    if models_dir is None:
        found = Message(_("the built-in model is there; --models-dir shows those of a web UI"))
        return Check("models", _LABELS["models"], "ok", found)
    try:
        folders = resolve_model_folders(models_dir)
    except TetradError as error:
        advice = Message(_("give the folder of A1111, Forge or ComfyUI, or its folder models"))
        return Check("models", _LABELS["models"], "warn", error.sentence, advice)
    own = resolve_model_folders()["checkpoint"]  # of runs, whose files are no base models
    theirs = {**folders, "checkpoint": tuple(each for each in folders["checkpoint"] if each not in own)}
    names = [path.name for path in list_files("checkpoint", theirs)]
    if not names:
        found = Message(_("the built-in model is there, and no checkpoint in {folder}"), folder=models_dir)
        advice = Message(_("docs/models.md says which checkpoints can be downloaded, and where they belong"))
        return Check("models", _LABELS["models"], "warn", found, advice)
    template = ngettext(
        "the built-in model and {count} checkpoint: {names}",
        "the built-in model and {count} checkpoints: {names}",
        len(names),
    )
    shown = ", ".join([*names[:_SHOWN_MODELS], *(["…"] if len(names) > _SHOWN_MODELS else [])])
    return Check("models", _LABELS["models"], "ok", Message(template, names=shown))


def _refused(name: str, folder: Path, error: OSError) -> Check:
    found = Message(_("{folder} cannot be written ({reason})"), folder=folder, reason=error.strerror or str(error))
    advice = Message(_("check its permissions, or save elsewhere with --out"))
    return Check(name, _LABELS[name], "bad", found, advice)
