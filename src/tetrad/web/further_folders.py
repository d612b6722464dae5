"""The further folders of images of a draft, which are trained on beside its own: the setting data.folders."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tetrad.data.discover.image_files import exclude_masks, list_files, select_images
from tetrad.errors import TetradError
from tetrad.locales import _, presentable
from tetrad.paths import expand_path
from tetrad.web.drafts import FOLDERS, Draft

_REPEATED = re.compile(r"(\d{1,4})_")  # kohya's name of a folder, like 10_zkr


def list_further(draft: Draft) -> list[dict[str, Any]]:
    """The tables of the further folders, as a recipe has them."""
    tables = draft.settings.get(FOLDERS) or ()
    return [dict(each) for each in tables if isinstance(each, Mapping) and each.get("images")]


def count_further(draft: Draft) -> int:
    """The images of the further folders that are no class images, by their names; archives are not looked into."""
    folders = [expand_path(table["images"]) for table in list_further(draft) if not table.get("class_images")]
    return sum(count_images(folder) for folder in folders)


def count_images(folder: Path) -> int:
    """The image files in a folder and in those inside it; 0 where it is not there."""
    return len(exclude_masks(select_images(list_files(folder)[0])[0])) if folder.is_dir() else 0


def no_image_error(folder: Path) -> TetradError:
    """E4002: a folder has no image."""
    template = _("{path} has no image in it; give a folder of JPEG, PNG or WebP images")
    return TetradError("E4002", template, path=presentable(folder))


def describe_further(draft: Draft) -> list[dict[str, Any]]:
    """Each folder for the page."""
    return [_describe(table) for table in list_further(draft)]


def _describe(table: Mapping[str, Any]) -> dict[str, Any]:
    path = expand_path(table["images"])
    images, named = count_images(path), _REPEATED.match(path.name)
    problem = ""
    if not path.exists():
        problem = TetradError("E4304", _("there is no folder {path}; give a folder of images"), path=path).message
    elif path.is_dir() and not images:
        problem = no_image_error(path).message
    return {
        "name": presentable(path.name),
        "path": presentable(path),
        "repeats": table.get("repeats"),
        "usual_repeats": int(named[1]) if named and path.is_dir() else 1,  # where none are given
        "images": images,
        "problem": presentable(problem),
        "is_class_images": bool(table.get("class_images")),
    }
