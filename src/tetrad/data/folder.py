"""From the files of a data set to the photos that can be trained on."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache as remembered
from pathlib import Path
from typing import Protocol

from tetrad.data.caption_files import usual_encoding
from tetrad.data.captions import Captions
from tetrad.data.encodings import NAMES
from tetrad.data.images import BadImage, upright
from tetrad.data.layouts import Entry, Listing
from tetrad.data.listing import Skipped
from tetrad.data.similar import alike, look
from tetrad.data.sources import listed
from tetrad.data.subsets import Subset, suffixes
from tetrad.errors import TetradError


@dataclass(frozen=True)
class Photo:
    """An image file that was decoded to its end, upright."""

    path: Path
    width: int
    height: int
    digest: str  # sha256 of the file's bytes, in hex
    captions: Captions
    caption_source: str  # where its words come from: ".txt", "metadata.jsonl", "word", "file name" …
    subset: Subset
    look: bytes = b""  # from far away
    guess: str = ""  # the encoding of its caption file, where that was guessed

    @property
    def caption(self) -> str:
        """What it is called where nothing is left to chance."""
        return self.captions.plain


class Memory(Protocol):
    """What knows, from earlier runs, that a file is a whole picture, its size and its look."""

    def seen(self, digest: str) -> tuple[tuple[int, int], bytes] | None: ...
    def mark(self, digest: str, size: tuple[int, int], look: bytes) -> None: ...


def photos(
    folder: Path, word: str = "", class_word: str = "", cache: Memory | None = None
) -> tuple[list[Photo], list[Skipped]]:
    """The photos of a folder and everything below it, by name, and what was left out of it.

    `folder` may be a single image. Raises E4001 where there is none, E4002 where no image is in it, E4003 where none of
    its images can be read.
    """
    listing = listed(folder, Subset(word=word, class_word=class_word))
    return gathered(listing, read(listing, cache))


def read(listing: Listing, cache: Memory | None = None) -> Iterator[tuple[Photo | None, tuple[Skipped, ...]]]:
    """Each file of a listing in turn: the photo, where it is one, and what to say of it.

    A picture that no earlier run saw is decoded, so that a large folder takes a while the first time.
    """
    usual = remembered(usual_encoding)
    for entry in listing.entries:
        try:
            encoding = usual(entry.path.parent, suffixes(entry.subset.wording.extension))
            yield examined(entry, cache, encoding)
        except BadImage as bad:
            yield None, (Skipped(entry.path, bad.code, bad.reason),)


def gathered(
    listing: Listing, seen: Iterable[tuple[Photo | None, tuple[Skipped, ...]]]
) -> tuple[list[Photo], list[Skipped]]:
    """All photos that were read, and all that was left out.  E4003 where there is nothing to learn from."""
    good, skipped = [], list(listing.skipped)
    for photo, notes in seen:
        good += [photo] if photo else []
        skipped += notes
    skipped += [*duplicates(good), *near_duplicates(good), *encodings_guessed(good)]
    skipped.sort(key=lambda s: s.path.as_posix())
    images = [s for s in skipped if s.is_image]
    if not good or (not subjects(good) and not all(entry.subset.prior for entry in listing.entries)):
        first = f"{images[0].path.name}: {images[0].reason} ({images[0].code})" if images else "see above"
        what = f"none of the {len(images)} pictures in {listing.root} can be used; the first, "
        if len(images) == 1:
            what = f"the only picture in {listing.root} cannot be used; "
        raise TetradError("E4003", what + first)
    return good, skipped


def duplicates(found: Iterable[Photo]) -> Iterator[Skipped]:
    """Each file with the very bytes of another one; a folder that a data set names twice is no duplicate."""
    first: dict[str, Path] = {}
    for photo in found:
        same = first.setdefault(photo.digest, photo.path)
        if same != photo.path:
            yield Skipped(photo.path, "W4155", f"it is the same picture as {same.name}, which so counts twice")


def near_duplicates(found: Iterable[Photo]) -> Iterator[Skipped]:
    """Each group of files with nearly the same picture, named once; those with the very same bytes are one of it."""
    one_each = list({photo.digest: photo for photo in reversed(list(found))}.values())[::-1]
    for group in alike([photo.look for photo in one_each]):
        first, *others = (one_each[place].path for place in group)
        same = "is nearly the same picture" if len(others) == 1 else "are nearly the same picture"
        what = f"{named(others)} {same}, which so counts {len(group)} times"
        yield Skipped(first, "W4156", what.replace("2 times", "twice"))


def encodings_guessed(found: Iterable[Photo]) -> Iterator[Skipped]:
    """The captions of each folder that were not in UTF-8, with one to read whether the guess is good."""
    guessed: dict[tuple[Path, str], list[Photo]] = {}
    for photo in found:
        if photo.guess:
            guessed.setdefault((photo.path.parent, photo.guess), []).append(photo)
    for (_, guess), photos in guessed.items():
        first = photos[0]
        others = f" and {len(photos) - 1} more are" if len(photos) > 1 else " is"
        what = f"its caption{others} not in UTF-8, and read as {NAMES[guess]}: {first.captions.words[:40]!r}"
        yield Skipped(first.path, "W4157", f"{what}; if that is wrong, save as UTF-8")


def named(paths: Sequence[Path]) -> str:
    """Up to three of some files, and how many more there are: 'a.png, b.png and 4 more'."""
    names = [path.name for path in paths]
    if len(names) > 3:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def examined(entry: Entry, cache: Memory | None, usual: str = "") -> tuple[Photo, tuple[Skipped, ...]]:
    """One photo, and its caption file where that cannot be used.  Raises BadImage."""
    path = entry.path
    if not path.is_file():
        raise BadImage("E4120", "it is no file, or a link to nothing; put the picture itself there")
    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise BadImage("E4120", f"it cannot be read ({error.strerror}); see that you may open it") from error
    known = cache.seen(digest) if cache else None
    if known is None:
        image = upright(path)
        known = image.size, look(image)
        if cache:
            cache.mark(digest, *known)
    captions, words = entry.subset.captions(path, entry.words, usual)
    notes = (Skipped(words.problem.path, words.problem.code, words.problem.left_out),) if words.problem else ()
    size, seen = known
    return Photo(path, *size, digest, captions, words.source, entry.subset, seen, words.guess), notes


def subjects(found: Iterable[Photo]) -> list[Photo]:
    """The photos of what is to be learned, without the priors beside them."""
    return [photo for photo in found if not photo.subset.prior]


def caption_sources(found: Iterable[Photo]) -> str:
    """Where captions come from, for a person: '20 captions from .txt, 2 from file names'."""
    counted = Counter(photo.caption_source for photo in found).most_common()
    plural = {"file name": "file names", "folder name": "folder names"}
    parts = [f"{number} from {plural.get(source, source) if number > 1 else source}" for source, number in counted]
    return ", ".join(parts).replace(" from", f" caption{'s' if counted[0][1] > 1 else ''} from", 1)
