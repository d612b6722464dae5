"""From a folder to the photos that can be trained on."""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tetrad.data.caption_files import caption
from tetrad.data.captions import Captions
from tetrad.data.images import DOCUMENT, HEIC, JPEG_XL, RAW, BadImage, upright
from tetrad.errors import TetradError

PICTURES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"})
NOT_READ = {
    **dict.fromkeys((".heic", ".heif"), HEIC),
    ".jxl": JPEG_XL,
    **dict.fromkeys((".svg", ".psd", ".pdf", ".eps"), DOCUMENT),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".fits", ".dds"), RAW),
}
LINK = ("E4121", "it is a link to a folder, which is not followed; copy its pictures, or give that folder itself")


@dataclass(frozen=True)
class Photo:
    """An image file that was decoded to its end, upright."""

    path: Path
    width: int
    height: int
    caption: str
    digest: str  # sha256 of the file's bytes, in hex
    caption_source: str  # as caption_files.Caption says

    @property
    def captions(self) -> Captions:
        return Captions(self.caption)


@dataclass(frozen=True)
class Skipped:
    """A file that was left out: an image (E410x to E412x), or a caption file (E415x) whose image is still used."""

    path: Path
    code: str
    reason: str


class Memory(Protocol):
    """What knows, from earlier runs, that a file is a whole picture, and its size."""

    def seen(self, digest: str) -> tuple[int, int] | None: ...
    def mark(self, digest: str, size: tuple[int, int]) -> None: ...


def photos(
    folder: Path, word: str = "", class_word: str = "", cache: Memory | None = None
) -> tuple[list[Photo], list[Skipped]]:
    """The photos of a folder and everything below it, by name, and what was left out of it.

    `folder` may be a single image. Raises E4001 where there is none, E4002 where no image is in it, E4003 where none of
    its images can be read.
    """
    if not folder.exists():
        raise TetradError("E4001", f"there is no folder {folder}{neighbours(folder)}; give a folder of pictures")
    paths, skipped = listed(folder)
    good = []
    for path in paths:
        try:
            photo, notes = examined(path, word, class_word, cache)
        except BadImage as bad:
            skipped.append(Skipped(path, bad.code, bad.reason))
        else:
            good.append(photo)
            skipped.extend(notes)
    skipped.sort(key=lambda s: s.path.as_posix())
    if not good and skipped:
        first = skipped[0]
        reason = f"the first, {first.path.name}: {first.reason} ({first.code})"
        raise TetradError("E4003", f"none of the {len(skipped)} pictures in {folder} can be used; {reason}")
    return good, skipped


def listed(folder: Path) -> tuple[list[Path], list[Skipped]]:
    """The image files of a folder, sorted, and the files of it that are pictures of a kind that is not read."""
    files, skipped = ([folder], []) if folder.is_file() else walked(folder)
    paths = [path for path in files if path.suffix.lower() in PICTURES]
    skipped += [Skipped(path, *NOT_READ[path.suffix.lower()]) for path in files if path.suffix.lower() in NOT_READ]
    if not paths and not skipped:
        raise TetradError("E4002", f"no picture is in {folder} ({inventory(files)}); give JPEG, PNG or WebP files")
    return sorted(paths, key=lambda path: path.as_posix()), skipped


def walked(folder: Path) -> tuple[list[Path], list[Skipped]]:
    """Every file below a folder that is not hidden, and the folders that could not be entered."""
    errors: list[OSError] = []
    files, skipped = [], []
    for place, folders, names in os.walk(folder, onerror=errors.append):
        folders[:] = [name for name in folders if not hidden(name)]
        # A link could lead back here, or to a whole disk, so os.walk does not follow it.
        links = [Path(place, name) for name in folders if Path(place, name).is_symlink()]
        skipped += [Skipped(link, *LINK) for link in links]
        files += [Path(place, name) for name in names if not hidden(name)]
    skipped += [
        Skipped(Path(error.filename), "E4120", f"the folder cannot be opened ({error.strerror})") for error in errors
    ]
    return files, skipped


def hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def examined(path: Path, word: str, class_word: str, cache: Memory | None) -> tuple[Photo, list[Skipped]]:
    """One photo, and its caption file where that cannot be used.  Raises BadImage."""
    if not path.is_file():
        raise BadImage("E4120", "it is no file, or a link to nothing; put the picture itself there")
    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise BadImage("E4120", f"it cannot be read ({error.strerror}); see that you may open it") from error
    size = cache.seen(digest) if cache else None
    if size is None:
        size = upright(path).size
        if cache:
            cache.mark(digest, size)
    words = caption(path, word, class_word)
    notes = [Skipped(words.problem.path, words.problem.code, words.problem.reason)] if words.problem else []
    return Photo(path, *size, caption=words.text, digest=digest, caption_source=words.source), notes


def neighbours(folder: Path) -> str:
    """Which folders there are where the missing one was looked for."""
    parent = folder.parent
    names = sorted(p.name for p in parent.iterdir() if p.is_dir() and not hidden(p.name)) if parent.is_dir() else []
    return f" (in {parent} there are {', '.join(names[:5])})" if names else ""


def inventory(files: list[Path]) -> str:
    """How many files of which kinds there are, the most frequent first."""
    kinds = Counter(path.suffix.lower() or "files without a suffix" for path in files)
    return "found " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(4)) if kinds else "it is empty"
