"""Several folders of images in one data set, each with repeats, words, masks and captions of its own."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from tetrad.data.discover.layouts import Listing
from tetrad.data.discover.list_dataset import list_dataset
from tetrad.data.discover.subsets import Subset
from tetrad.settings.captions import CaptionSettings
from tetrad.settings.image_folder import ImageFolder

_OWN_SETTINGS = ("repeats", "flip", "alpha_mask", "masks")  # which Subset has by the same names


def add_folders(first: Listing, folders: Sequence[tuple[Path, ImageFolder]], defaults: Subset) -> Listing:
    """The listing with the images of more folders; `defaults` holds the values that they do not give.

    Errors as `list_dataset`, which name the folder.
    """
    listings = [first, *(list_dataset(path, make_subset(folder, defaults)) for path, folder in folders)]
    roots = [each.root if each.root.is_dir() else each.root.parent for each in listings]
    named = [each.archive or each.root for each in listings]
    return replace(
        first,
        entries=tuple(entry for each in listings for entry in each.entries),
        problems=tuple(problem for each in listings for problem in each.problems),
        folders=tuple(zip(name_folders(named), roots, strict=True)) if folders else (),
    )


def name_folders(paths: Sequence[Path]) -> list[str]:
    """A short name for each path: its last part, or with as many before it as tell it from others of that name."""
    paths = [path.absolute() for path in paths]
    names = []
    for path in paths:
        others = {each for each in paths if each != path}
        lengths = range(1, len(path.parts) + 1)
        length = next((n for n in lengths if all(each.parts[-n:] != path.parts[-n:] for each in others)), 1)
        names.append("/".join(path.parts[-length:]))
    return names


def make_subset(folder: ImageFolder, defaults: Subset) -> Subset:
    """What is known of the images of a folder; class images have no trigger word."""
    given: dict[str, Any] = {name: value for name in _OWN_SETTINGS if (value := getattr(folder, name)) is not None}
    own = {f"data.{name}" for name in given}
    if folder.captions:
        given["caption_settings"] = folder.captions
        own |= {f"data.captions.{each.name}" for each in fields(CaptionSettings)}
    trigger_word = defaults.trigger_word if folder.trigger_word is None else folder.trigger_word
    return replace(
        defaults,
        trigger_word="" if folder.class_images else trigger_word,
        class_word=defaults.class_word if folder.class_word is None else folder.class_word,
        is_class_images=folder.class_images,
        resolution=folder.resolution,
        weight=folder.weight,
        own_settings=frozenset(own),
        **given,
    )
