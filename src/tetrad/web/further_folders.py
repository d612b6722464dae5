"""The further folders of images of a draft, which are trained on beside its own: the setting data.folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tetrad.data.discover.image_files import exclude_masks, list_files, select_images
from tetrad.data.discover.subsets import parse_kohya_folder_name
from tetrad.errors import TetradError
from tetrad.locales import _, presentable
from tetrad.paths import expand_path
from tetrad.web.drafts import FOLDERS, Draft


def list_further_folders(draft: Draft) -> list[dict[str, Any]]:
    """The tables of the further folders, as a recipe has them."""
    tables = draft.settings.get(FOLDERS) or ()
    return [dict(each) for each in tables if isinstance(each, Mapping) and each.get("images")]


def count_further_images(draft: Draft) -> int:
    """The images of the further folders that are no class images, by their names; archives are not looked into."""
    folders = [expand_path(table["images"]) for table in list_further_folders(draft) if not table.get("class_images")]
    return sum(count_images(folder) for folder in folders)


def count_images(folder: Path) -> int:
    """The image files in a folder and in those inside it; 0 where it is not there."""
    return len(exclude_masks(select_images(list_files(folder)[0])[0])) if folder.is_dir() else 0


def no_image_error(folder: Path) -> TetradError:
    """E4002: a folder has no image."""
    template = _("{path} has no image in it; give a folder of JPEG, PNG or WebP images")
    return TetradError("E4002", template, path=presentable(folder))


def describe_further_folders(draft: Draft) -> list[dict[str, Any]]:
    """Each folder for the page."""
    return [_describe(table) for table in list_further_folders(draft)]


def _describe(table: Mapping[str, Any]) -> dict[str, Any]:
    path = expand_path(table["images"])
    images, kohya_name = count_images(path), parse_kohya_folder_name(path.name)
    problem = ""
    if not path.exists():
        problem = TetradError("E4304", _("there is no folder {path}; give a folder of images"), path=path).message
    elif path.is_dir() and not images:
        problem = no_image_error(path).message
    return {
        "name": presentable(path.name),
        "path": presentable(path),
        "repeats": table.get("repeats"),
        "usual_repeats": kohya_name[0] if kohya_name and path.is_dir() else 1,  # where none are given
        "images": images,
        "problem": presentable(problem),
        "is_class_images": bool(table.get("class_images")),
    }
