"""The photos of a data set as a run loads them, without its events."""

from pathlib import Path

from tetrad.data.cache_folder import CacheFolder
from tetrad.data.dataset import Photo, collect_photos, inspect_photos
from tetrad.data.discover.image_files import FileProblem
from tetrad.data.discover.list_dataset import list_dataset
from tetrad.data.discover.subsets import Subset


def load_dataset(
    path: Path, trigger_word: str = "", class_word: str = "", cache: CacheFolder | None = None
) -> tuple[list[Photo], list[FileProblem]]:
    """The photos sorted by name, and the problems with the files; raises E4001, E4002 and E4003."""
    listing = list_dataset(path, Subset(trigger_word=trigger_word, class_word=class_word))
    return collect_photos(listing, inspect_photos(listing, cache))
