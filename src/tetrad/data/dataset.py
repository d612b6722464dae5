"""Decode the images of a data set once, and report those that cannot be used, duplicates and guessed encodings."""

import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tetrad.data.buckets import find_bucket
from tetrad.data.cache_folder import CacheFolder
from tetrad.data.captions.caption_files import detect_folder_encoding
from tetrad.data.captions.captions import Captions
from tetrad.data.captions.guessed_encodings import describe_guessed_encodings, describe_infotexts
from tetrad.data.discover.image_files import FileProblem, join_phrases, list_names
from tetrad.data.discover.layouts import ImageEntry, Listing
from tetrad.data.discover.subsets import Subset, get_caption_suffixes
from tetrad.data.parallel import call_once, map_ahead
from tetrad.data.shards.member_path import get_shown_name
from tetrad.data.turns import take_turns
from tetrad.errors import TetradError
from tetrad.images.bands import UprightImage
from tetrad.images.diagnosis import BadImage, check_is_file, explain_unreadable
from tetrad.images.examine import ImageInfo, examine_image
from tetrad.images.near_duplicates import group_near_duplicates
from tetrad.locales import Message, _, ngettext

# How a caption source is called in a sentence; others, such as ".txt", have no other name.
_CAPTION_SOURCE_NAMES = {
    "file name": _("the file name"),
    "folder name": _("the folder name"),
    "template": _("the template"),
    "trigger word": _("the trigger word"),
    "class word": _("the class word"),
    "class prompt": _("the class prompt"),
}

# Where a caption comes from if the image has no text of its own, in a file beside it or in a metadata file.
_MADE_SOURCES = (
    "file name",
    "folder name",
    "class_tokens",
    "template",
    "trigger word",
    "class word",
    "class prompt",
    "",
)


_PART = 256  # images that one of several processes looks at at a time
MAX_COMPARED = 10_000
_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".jpe")  # of images that are decoded at a fraction instead of kept


@dataclass(frozen=True, slots=True)
class Photo:
    """An image file that was decoded completely; sizes are after EXIF orientation."""

    path: Path
    file_hash: str  # sha256 of the file's bytes, in hex
    captions: Captions
    caption_source: str  # ".txt", "metadata.jsonl", "trigger word", "file name" …
    subset: Subset
    info: ImageInfo
    guessed_encoding: str = ""  # the encoding of its caption file, if guessed
    is_infotext: bool = False  # whether its caption is the prompt of a web UI's text

    @property
    def width(self) -> int:
        return self.info.width

    @property
    def height(self) -> int:
        return self.info.height

    @property
    def caption(self) -> str:
        """The caption without randomness."""
        return self.captions.default_caption


def inspect_photos(
    listing: Listing,
    cache: CacheFolder | None = None,
    find_resolution: Callable[[], int] = lambda: 0,
    detect_encoding: Callable[[Path, tuple[str, ...]], str] | None = None,
) -> Iterator[tuple[Photo | None, tuple[FileProblem, ...]]]:
    """For each file of a listing: the photo, or None if it cannot be used, and the problems.

    Images that are not in the cache are decoded, in several threads, so the first run on a large folder takes a while.
    Those that would take long again are kept in the cache at the size for the training resolution, for `encode_photos`.
    `find_resolution` is called where one needs it; it gives 0 where the resolution is not known or nothing is trained.
    `detect_encoding` is `detect_folder_encoding`, which may remember what it has found for other images of a folder.
    """
    find_resolution = call_once(find_resolution)
    detect = detect_encoding or functools.cache(detect_folder_encoding)
    entries = (
        (entry, detect(entry.path.parent, get_caption_suffixes(entry.subset.caption_settings.extension)))
        for entry in listing.entries
    )
    return map_ahead(lambda pair: _inspect_entry(pair[0], pair[1], cache, find_resolution), entries)


def inspect_in_turns(
    listing: Listing, cache: CacheFolder, find_resolution: Callable[[], int] = lambda: 0
) -> Iterator[int]:
    """Look at the images of shards that the records of the cache do not know, together with other processes.

    Yields the number of images that are finished, about. Those that cannot be used are left to `inspect_photos`, and so
    is everything in a folder without locks.
    """
    records, entries = cache.records, listing.entries
    if records is None or cache.folder is None or not listing.shards:
        return

    detect_encoding = functools.cache(detect_folder_encoding)

    def is_done(part: Sequence[ImageEntry]) -> bool:
        records.refresh()
        return all(cache.get_file_hash(entry.path) for entry in part)

    def inspect(part: Sequence[ImageEntry]) -> Iterator[object]:
        return inspect_photos(replace(listing, entries=tuple(part)), cache, find_resolution, detect_encoding)

    parts = [entries[begin : begin + _PART] for begin in range(0, len(entries), _PART)]
    named = [(f"{part[0].path.absolute()} {len(part)}", part) for part in parts]
    with suppress(OSError):
        for finished in take_turns(cache.folder / "turns", named, is_done, inspect):
            yield min(finished * _PART, len(entries))
            if cache.refused:
                return


def collect_photos(
    listing: Listing, results: Iterable[tuple[Photo | None, tuple[FileProblem, ...]]]
) -> tuple[list[Photo], list[FileProblem]]:
    """All photos, and all problems sorted by path.  E4003 if no image is left to train on."""
    photos, problems = [], list(listing.problems)
    for photo, photo_problems in results:
        photos += [photo] if photo else []
        problems += photo_problems
    problems += [*_report_duplicates(photos), *_report_near_duplicates(photos), *warn_about_captions(photos)]
    problems.sort(key=lambda s: s.path.as_posix())
    if not photos or (
        not exclude_class_images(photos) and not all(entry.subset.is_class_images for entry in listing.entries)
    ):
        raise no_usable_image_error(listing.root, [problem for problem in problems if problem.is_skipped_image])
    return photos, problems


def no_usable_image_error(folder: Path, skipped_images: Sequence[FileProblem]) -> TetradError:
    """E4003, with the first file and its problem."""
    if not skipped_images:
        return TetradError("E4003", _("no image in {folder} can be used for training"), folder=folder)
    template = ngettext(
        "no image in {folder} can be used for training; {file}: {reason} ({code})",
        "no image in {folder} can be used for training, {count} are left out; the first is {file}: {reason} ({code})",
        len(skipped_images),
    )
    first = skipped_images[0]
    values = {"folder": folder, "file": get_shown_name(first.path), "reason": first.reason, "code": first.code}
    return TetradError("E4003", template, **values)


def _report_duplicates(photos: Iterable[Photo]) -> Iterator[FileProblem]:
    """Warn about each file with the same bytes as another; a folder that a data set names twice is no duplicate."""
    for first, *copies in group_copies(photos):
        for copy in copies:
            template = _(
                "it is the same image as {file}, so this image is used more often than others; delete one copy"
            )
            yield FileProblem(copy.path, "W4155", Message(template, file=get_shown_name(first.path)))


def group_copies(photos: Iterable[Photo]) -> list[list[Photo]]:
    """The photos of each group of files with the same bytes."""
    groups: dict[str, dict[Path, Photo]] = {}
    for photo in photos:
        groups.setdefault(photo.file_hash, {}).setdefault(photo.path, photo)
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def _report_near_duplicates(photos: Iterable[Photo]) -> Iterator[FileProblem]:
    """Warn once about each group of files with nearly the same image; files with the same bytes count as one."""
    for group in group_similar(photos):
        first, *others = (photo.path for photo in group)
        template = ngettext(
            "{files} is nearly the same image, so this image counts twice",
            "{count} other files are nearly the same image ({files}), so this image counts {total} times",
            len(others),
        )
        names = list_names([get_shown_name(path) for path in others])
        yield FileProblem(first, "W4156", Message(template, files=names, total=len(group)))


def group_similar(photos: Iterable[Photo]) -> list[list[Photo]]:
    """The photos of each group of nearly the same images; of files with the same bytes only the first counts.

    Of more than `MAX_COMPARED` different images none are compared: the time grows with the square of their number.
    """
    unique = list({photo.file_hash: photo for photo in reversed(list(photos))}.values())[::-1]
    if len(unique) > MAX_COMPARED:
        return []
    groups = group_near_duplicates([photo.info.thumbnail for photo in unique])
    return [[unique[index] for index in group] for group in groups]


def warn_about_captions(photos: Iterable[Photo]) -> Iterator[FileProblem]:
    """Warn once per folder about captions that are not UTF-8, and about those that are a web UI's text."""
    photos = list(photos)
    yield from describe_guessed_encodings(
        (photo.path, photo.guessed_encoding, photo.captions.raw_text) for photo in photos if photo.guessed_encoding
    )
    yield from describe_infotexts((photo.path, photo.captions.raw_text) for photo in photos if photo.is_infotext)


def _inspect_entry(
    entry: ImageEntry, folder_encoding: str, cache: CacheFolder | None, find_resolution: Callable[[], int]
) -> tuple[Photo | None, tuple[FileProblem, ...]]:
    try:
        return _inspect_photo(entry, folder_encoding, cache, find_resolution)
    except BadImage as error:
        return None, (FileProblem(entry.path, error.code, error.reason),)


def _inspect_photo(
    entry: ImageEntry, folder_encoding: str, cache: CacheFolder | None, find_resolution: Callable[[], int]
) -> tuple[Photo, tuple[FileProblem, ...]]:
    """Decode one image, and report its caption file if that cannot be used.  Raises BadImage."""
    path = entry.path
    file_hash = (cache.get_file_hash(path) if cache else "") or _hash_file(path)
    info = cache.get_image_info(file_hash) if cache else None
    if info is None:
        info = _examine_entry(entry, file_hash, cache, find_resolution) if cache else examine_image(path)
        if cache:
            cache.put_file_hash(path, file_hash)
    captions, raw_caption = entry.subset.make_captions(path, entry.raw_caption, folder_encoding)
    problems = (
        (FileProblem(raw_caption.problem.path, raw_caption.problem.code, raw_caption.problem.skip_message),)
        if raw_caption.problem
        else ()
    )
    read_as = (raw_caption.guessed_encoding, raw_caption.is_infotext)
    photo = Photo(path, file_hash, captions, raw_caption.source, entry.subset, info, *read_as)
    return photo, problems


def _hash_file(path: Path) -> str:
    """sha256 of a file.  Raises BadImage."""
    check_is_file(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise explain_unreadable(error) from error


def _examine_entry(
    entry: ImageEntry, file_hash: str, cache: CacheFolder, find_resolution: Callable[[], int]
) -> ImageInfo:
    """Decode an image that is not in the cache, and keep there what is seen and what is encoded.  Raises BadImage."""
    is_kept = entry.path.suffix.lower() not in _JPEG_SUFFIXES
    resolution = (entry.subset.resolution or find_resolution()) if is_kept else 0

    def keep(upright: UprightImage) -> None:
        if resolution:
            cache.fitted.keep(file_hash, upright, find_bucket(*upright.size, resolution, entry.subset.buckets))

    info = examine_image(entry.path, keep)
    cache.put_image_info(file_hash, info)
    return info


def exclude_class_images(photos: Iterable[Photo]) -> list[Photo]:
    """The photos of the subject, without the class images."""
    return [photo for photo in photos if not photo.subset.is_class_images]


def has_own_text(photo: Photo) -> bool:
    """Whether the caption of an image is from a caption file or a metadata file."""
    return photo.caption_source not in _MADE_SOURCES


def describe_caption_sources(photos: Iterable[Photo]) -> Message:
    """How many captions come from each source, the most frequent first."""
    counts = Counter(photo.caption_source for photo in photos).most_common()
    phrases = []
    for source, number in counts:
        template = ngettext("{count} caption from {source}", "{count} captions from {source}", number)
        name = _CAPTION_SOURCE_NAMES.get(source)
        phrases.append(Message(template, source=Message(name) if name else source))
    return join_phrases(phrases)
