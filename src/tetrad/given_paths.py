"""Paths and addresses that a person gives: what is said where there is no such file.  Needs no torch."""

from pathlib import Path

from tetrad.builtin import BUILTIN_NAME, resolve_images_path, resolve_model_path
from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.paths import expand_path, is_pattern
from tetrad.storage.addresses import get_copy_path, is_address

# What people can train on; docs/models.md has the whole list.
_CHECKPOINTS = {"sd1": "v1-5-pruned-emaonly-fp16.safetensors", "sdxl": "sd_xl_base_1.0.safetensors"}
_MODEL_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_LISTED_NAMES = 5
BUILTIN_MODEL = "W5202"  # the built-in model does not suit what it is given
INIT_IMAGE_LABEL, MASK_LABEL = Message(_("init image")), Message(_("mask"))  # in error messages


def fetch_given(name: str) -> None:
    """Fetch what a person gives as an address in object storage, so that `expand_path` has its local copy."""
    if is_address(name):
        from tetrad.storage.fetching import fetch  # fsspec is needed for addresses only

        fetch(name)


def locate_given(name: str) -> Path | None:
    """Where a model or images are, also built-in ones; None for an address not fetched yet.  E2004, E4001, E4401."""
    if is_address(name):
        copy = get_copy_path(name)
        return copy if copy.exists() else None
    return resolve_model_path(name) if name == BUILTIN_NAME else resolve_images_path(name)


def check_images_exist(*images: str) -> None:
    """E4001 where a folder of training images does not exist; those at an address are fetched."""
    for each in images:
        fetch_given(each)
        if not (path := resolve_images_path(each)).exists() and not is_pattern(path):
            raise missing_images_error(path)


def missing_images_error(path: Path) -> TetradError:
    """E4001, with the names of up to five folders beside the missing one."""
    siblings = path.parent.iterdir() if path.parent.is_dir() else ()
    folders = sorted(sibling.name for sibling in siblings if sibling.is_dir() and not sibling.name.startswith("."))
    if not folders:
        template = _("there is no folder {path}; check the path, or give another folder of images")
        return TetradError("E4001", template, path=path)
    names = ", ".join([*folders[:_LISTED_NAMES], *["…"] * (len(folders) > _LISTED_NAMES)])
    template = _("there is no folder {path}, but {parent} has {folders}; give a folder of images")
    return TetradError("E4001", template, path=path, parent=path.parent, folders=names)


def check_model_exists(model: str, may_be_name: bool = False) -> None:
    """E5001 where a model's path does not exist; one at an address is fetched.

    `may_be_name`: a name without a folder may be found later.
    """
    fetch_given(model)
    path = resolve_model_path(model)
    if not path.exists() and not (may_be_name and len(path.parts) == 1):
        raise missing_checkpoint_error(path, may_be_name)


def check_trained_file_exists(file: str) -> None:
    """E5001 where a file or folder to continue from does not exist; "" is none, and one at an address is fetched."""
    fetch_given(file)
    path = expand_path(file)
    if file and not path.exists():
        raise missing_file_error(path)


def check_init_files_exist(image: Path | None, mask: Path | None) -> None:
    """E3251 where the init image or the mask does not exist."""
    for label, path in ((INIT_IMAGE_LABEL, image), (MASK_LABEL, mask)):
        if path and not expand_path(path).exists():
            template = _("{label} {path} cannot be read: {reason}")
            raise TetradError("E3251", template, label=label, path=path, reason=Message(_("the file does not exist")))


def missing_checkpoint_error(path: Path, may_be_name: bool = False) -> TetradError:
    """E5001, with the checkpoints in the same folder, or else with those that people can download.

    `may_be_name`: the command also takes the name of a checkpoint in --models-dir.
    """
    if _list_models_beside(path):
        return missing_file_error(path)
    template = _(
        "there is no file {path}; give the path of a Stable Diffusion checkpoint: {sd1} (1.5, 2.1 GB, CreativeML Open"
        " RAIL-M) and {sdxl} (XL, 6.9 GB, CreativeML Open RAIL++-M) can be downloaded from huggingface.co, see"
        " docs/models.md"
    )
    if may_be_name:
        template = _(
            "there is no file {path}; give a checkpoint's path, its name with --models-dir, or builtin: {sd1} (Stable"
            " Diffusion 1.5, 2.1 GB, CreativeML Open RAIL-M) and {sdxl} (XL, 6.9 GB, CreativeML Open RAIL++-M) can be"
            " downloaded from huggingface.co, see docs/models.md"
        )
    return TetradError("E5001", template, path=path, **_CHECKPOINTS)


def missing_file_error(path: Path) -> TetradError:
    """E5001, with the names of up to five weight files in the same folder."""
    names = _list_models_beside(path)
    if not names:
        return TetradError("E5001", _("there is no file {path}; check the path"), path=path)
    template = _("there is no file {path}; the folder contains {names}")
    return TetradError("E5001", template, path=path, names=", ".join(names[:_LISTED_NAMES]))


def _list_models_beside(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.glob("*") if file.suffix in _MODEL_SUFFIXES)


def explain_builtin_model(model: str, images: str = "") -> Message | None:
    """Why the built-in model does not suit these images, or any prompt; None for another model or built-in images."""
    if model != BUILTIN_NAME or images.startswith(f"{BUILTIN_NAME}:"):
        return None
    if not images:
        return Message(
            _(
                "the built-in model generates small cartoon images and knows nothing else; give a Stable Diffusion"
                " checkpoint with --model, see docs/models.md for those that can be downloaded"
            )
        )
    template = _(
        "the built-in model generates small cartoon images and cannot be trained on photographs or artworks; to train"
        " on {images}, give a Stable Diffusion checkpoint with --model: {sd1} (1.5, 2.1 GB) and {sdxl} (XL, 6.9 GB) can"
        " be downloaded from huggingface.co, see docs/models.md"
    )
    return Message(template, images=images, **_CHECKPOINTS)
