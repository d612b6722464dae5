"""List the images of a path: an image, a folder in one of the common layouts, a zip archive, kohya's configuration.

The caption of an image comes from the first of these that has one:
1. the caption file next to it: .txt, then .caption
2. the metadata.jsonl or metadata.csv of its folder or of a folder above
3. its file name, if that is asked for
4. the class tokens of kohya's `10_zkr dog` folder or of dataset_config.toml
5. the trigger word, or else the class word
6. its file name
"""

from dataclasses import replace
from pathlib import Path

from tetrad.cache_location import get_cache_folder
from tetrad.data.discover.dataset_config import list_dataset_config
from tetrad.data.discover.layouts import Listing, list_folder
from tetrad.data.discover.subsets import Subset
from tetrad.data.discover.zip_archives import is_archive, unpack_archive
from tetrad.errors import TetradError
from tetrad.locales import _

_CONFIG_SUFFIXES = (".toml", ".json")


def list_dataset(path: Path, subset: Subset | None = None) -> Listing:
    """The image files of a data set, not opened yet; `subset` holds the values that the data set does not give.

    Raises E4001 if the path does not exist, E4002 if it has no images or only class images, E417x for a bad
    configuration.
    """
    subset = subset or Subset()
    if is_archive(path):
        listing = _list_archive(path, subset)
    elif path.suffix.lower() in _CONFIG_SUFFIXES and path.is_file():
        listing = list_dataset_config(path, subset)
    else:
        listing = list_folder(path, subset)
    if (
        listing.entries
        and not subset.is_class_images
        and all(entry.subset.is_class_images for entry in listing.entries)
    ):
        raise TetradError("E4002", _("{path} has only class images; give images of the subject too"), path=path)
    return listing


def _list_archive(path: Path, subset: Subset) -> Listing:
    """The images of a zip archive, which is unpacked into the cache.  E4002 if it has no images."""
    unpacked = unpack_archive(path, get_cache_folder())
    try:
        listing = list_folder(unpacked.folder, subset)
    except TetradError as error:
        if error.code != "E4002":
            raise
        if unpacked.problems:
            first = unpacked.problems[0]
            template = _("no image in {path} can be used; {file}: {reason} ({code})")
            values = {"file": first.path.name, "reason": first.reason, "code": first.code}
            raise TetradError("E4003", template, path=path, **values) from error
        template = _("{path} has no images; give an archive of JPEG, PNG or WebP images")
        raise TetradError("E4002", template, path=path) from error
    return replace(listing, archive=path, problems=(*unpacked.problems, *listing.problems))
