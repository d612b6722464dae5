"""Decode the images of a data set, read its captions, and report what they are like."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from tetrad.builtin import resolve_images_path
from tetrad.cache_location import get_cache_folder
from tetrad.data.cache_folder import CacheFolder
from tetrad.data.captions.metadata_files import METADATA_FILE_NAMES
from tetrad.data.dataset import (
    Photo,
    exclude_class_images,
    group_copies,
    group_similar,
    inspect_photos,
    no_usable_image_error,
    warn_about_captions,
)
from tetrad.data.discover.image_files import FileProblem
from tetrad.data.discover.layouts import Listing
from tetrad.data.discover.list_dataset import list_dataset
from tetrad.data.discover.several_folders import add_folders
from tetrad.data.discover.subsets import Subset
from tetrad.inspection.dataset.advice import advise
from tetrad.inspection.dataset.captions import count_tokens, report_captions
from tetrad.inspection.dataset.images import count_shapes, count_sizes, describe_photo, find_repeated, list_buckets
from tetrad.inspection.dataset.report import DatasetReport, Finding, ScannedImage
from tetrad.locales import Message, _, ngettext
from tetrad.settings import ImageFolder
from tetrad.settings.field import range_error

DEFAULT_RESOLUTION = 512
_LEAST_RESOLUTION, _MOST_RESOLUTION = 32, 4096  # of data.resolution
# Problems that the report has in a place of its own: copies, similar images.
_REPORTED_ELSEWHERE = ("W4155", "W4156")


def scan(
    images: str | Path,
    trigger_word: str = "",
    class_word: str = "",
    resolution: int = 0,
    on_progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> DatasetReport:
    """The report on a data set: a folder, an archive, an image, a dataset configuration, or builtin:NAME.

    `resolution` is that of the training, for buckets and enlargement; 0: that of the data set, or 512. `on_progress` is
    called with the number of files looked at, and of all files. Raises E4001 if there is nothing at that path, E4002 if
    there are no images, E3103 for a resolution that nothing is trained at; a report on images of which none can be used
    has `used` empty.
    """
    return scan_images(list_images(images, trigger_word, class_word), resolution, on_progress)


def list_images(
    images: str | Path, trigger_word: str = "", class_word: str = "", further: Sequence[str | Path] = ()
) -> Listing:
    """The files of a data set and of further ones, not opened yet.  Raises E4001 and E4002."""
    defaults = Subset(trigger_word=trigger_word, class_word=class_word)
    first = list_dataset(resolve_images_path(str(images)), defaults)
    others = [(resolve_images_path(str(each)), ImageFolder(images=str(each))) for each in further]
    return add_folders(first, others, defaults)


def scan_images(
    listing: Listing, resolution: int = 0, on_progress: Callable[[int, int], object] = lambda _done, _total: None
) -> DatasetReport:
    """The report on images that are listed already.  E3103 for a resolution that nothing is trained at."""
    if resolution and not _LEAST_RESOLUTION <= resolution <= _MOST_RESOLUTION:
        expected = Message(_("from 32 to 4096, or 0 for the resolution of the data set"))
        raise range_error("resolution", resolution, expected)
    cache, resolution = CacheFolder(get_cache_folder()), resolution or listing.resolution or DEFAULT_RESOLUTION
    photos: list[Photo] = []
    problems = list(listing.problems)
    results = inspect_photos(listing, cache, lambda: resolution)
    for number, (photo, photo_problems) in enumerate(results, start=1):
        photos += [photo] if photo else []
        problems += photo_problems
        on_progress(number, len(listing))
    return make_report(listing, photos, [*problems, *warn_about_captions(photos)], resolution)


def make_report(
    listing: Listing, photos: Sequence[Photo], problems: Iterable[FileProblem], resolution: int = 0
) -> DatasetReport:
    """The report on photos that were decoded, and on the problems of their files."""
    resolution = resolution or listing.resolution or DEFAULT_RESOLUTION
    own = exclude_class_images(photos)
    tokens = {id(photo): count_tokens(photo.captions.longest_caption) for photo in photos}
    copies, similar = (
        tuple(tuple(_name(listing, photo.path) for photo in group) for group in groups)
        for groups in (group_copies(own), group_similar(own))
    )
    repeated = find_repeated(copies, similar)
    images = [
        *(
            describe_photo(
                photo, name := _name(listing, photo.path), resolution, tokens[id(photo)], repeated.get(name, [])
            )
            for photo in photos
        ),
        *(
            ScannedImage(_name(listing, each.path), each.path, "skipped", (Finding(each.code, each.reason),))
            for each in problems
            if each.is_skipped_image
        ),
    ]
    images.sort(key=lambda image: image.path.as_posix())
    used = [image for image in images if image.state != "skipped" and not image.is_class_image]
    words = {photo.subset.trigger_word for photo in own}
    names = {index: _name(listing, photo.path) for index, photo in enumerate(own)}
    captions = report_captions(own, names, [tokens[id(photo)] for photo in own], words.pop() if len(words) == 1 else "")
    other = [each for each in problems if not each.is_skipped_image and each.code not in _REPORTED_ELSEWHERE]
    report = DatasetReport(
        path=_find_common_folder(listing) if listing.folders else listing.archive or listing.root,
        layout=describe_layout(listing),
        resolution=resolution,
        images=tuple(images),
        other_problems=tuple(Finding(each.code, _with_name(listing, each)) for each in other),
        sizes=count_sizes(used),
        shapes=count_shapes(used),
        buckets=list_buckets(used),
        copies=copies,
        similar=similar,
        captions=captions,
        advice=(),
    )
    return advise(report)


def check_any_usable(report: DatasetReport) -> None:
    """E4003 if none of the images can be trained on; the report itself says why."""
    if not report.used:
        raise no_usable_image_error(
            report.path,
            [
                FileProblem(image.path, each.code, each.text)
                for image in report.skipped_images
                for each in image.findings
            ],
        )


def describe_layout(listing: Listing) -> Message:
    """What kind of data set it is."""
    root = listing.root
    if listing.folders:
        names = ", ".join(name for name, _root in listing.folders)
        return Message(_("{count} folders of images ({names})"), count=len(listing.folders), names=names)
    if listing.shards:
        return Message(ngettext("{count} shard", "{count} shards", len(listing.shards)))
    if listing.archive:
        return Message(_("a zip archive with {layout}"), layout=describe_layout(replace(listing, archive=None)))
    if root.is_file():
        is_config = root.suffix.lower() in (".toml", ".json")
        return Message(_("a dataset configuration of kohya's trainer") if is_config else _("a single image"))
    if any("data.repeats" in entry.subset.own_settings for entry in listing.entries):
        return Message(_("numbered folders of kohya's trainer, like '10_zkr dog'"))
    sources = {entry.raw_caption.source for entry in listing.entries} & set(METADATA_FILE_NAMES)
    if sources:
        return Message(_("a folder of images with {file}"), file=" and ".join(sorted(sources)))
    folders = {entry.path.parent for entry in listing.entries}
    if len(folders) > 1:
        return Message(_("a folder of images in {count} folders"), count=len(folders))
    return Message(_("a folder of images"))


def _with_name(listing: Listing, problem: FileProblem) -> Message:
    return Message(_("{file}: {reason}"), file=_name(listing, problem.path), reason=problem.reason)


def _find_common_folder(listing: Listing) -> Path:
    """The folder that has all folders of a listing in it."""
    return Path(os.path.commonpath([root.absolute() for _name, root in listing.folders]))


def _name(listing: Listing, path: Path) -> str:
    """The path of a file inside its data set, after the name of its folder where there are several."""
    inside = [(len(root.parts), name, root) for name, root in listing.folders if path.is_relative_to(root)]
    if inside:
        _depth, name, root = max(inside)
        return f"{name}/{path.relative_to(root).as_posix()}"
    root = listing.root if listing.root.is_dir() else listing.root.parent
    return path.relative_to(root).as_posix() if path.is_relative_to(root) and path != root else path.name
