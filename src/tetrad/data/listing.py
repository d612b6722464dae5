"""Which files of a folder are pictures, by their names alone."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tetrad.data.images import DOCUMENT, HEIC, JPEG_XL, RAW

PICTURES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"})
NOT_READ = {
    **dict.fromkeys((".heic", ".heif"), HEIC),
    ".jxl": JPEG_XL,
    **dict.fromkeys((".svg", ".psd", ".pdf", ".eps"), DOCUMENT),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".fits", ".dds"), RAW),
}
LINK = ("E4121", "it is a link to a folder, which is not followed; copy its pictures, or give that folder itself")


@dataclass(frozen=True)
class Skipped:
    """What was left out: an image (E410x to E412x), or something that was said of images, which are still used."""

    path: Path
    code: str
    reason: str

    @property
    def is_image(self) -> bool:
        return self.code[:4] in ("E410", "E411", "E412")


def files(folder: Path, deep: bool = True) -> tuple[list[Path], list[Skipped]]:
    """The files of a folder that are not hidden, sorted, and what could not be entered; a file is its own folder."""
    if folder.is_file():
        return [folder], []
    found, skipped = walked(folder, deep)
    return sorted(found, key=lambda path: path.as_posix()), skipped


def walked(folder: Path, deep: bool) -> tuple[list[Path], list[Skipped]]:
    errors: list[OSError] = []
    found, skipped = [], []
    for place, folders, names in os.walk(folder, onerror=errors.append):
        folders[:] = [name for name in folders if deep and not hidden(name)]
        # A link could lead back here, or to a whole disk, so os.walk does not follow it.
        links = [Path(place, name) for name in folders if Path(place, name).is_symlink()]
        skipped += [Skipped(link, *LINK) for link in links]
        found += [Path(place, name) for name in names if not hidden(name)]
    skipped += [
        Skipped(Path(error.filename), "E4120", f"the folder cannot be opened ({error.strerror})") for error in errors
    ]
    return found, skipped


def pictures(found: list[Path]) -> tuple[list[Path], list[Skipped]]:
    """The images among files, and the pictures of a kind that is not read."""
    skipped = [Skipped(path, *NOT_READ[path.suffix.lower()]) for path in found if path.suffix.lower() in NOT_READ]
    return [path for path in found if path.suffix.lower() in PICTURES], skipped


def without_masks(paths: list[Path]) -> list[Path]:
    """Images without those that are OneTrainer's masks of others."""
    masks = {mask_of(path) for path in paths}
    return [path for path in paths if path not in masks]


def mask_of(path: Path) -> Path:
    """Where OneTrainer keeps the mask of an image."""
    return path.with_name(f"{path.stem}-masklabel.png")


def hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def neighbours(folder: Path) -> str:
    """Which folders there are where the missing one was looked for."""
    parent = folder.parent
    names = sorted(p.name for p in parent.iterdir() if p.is_dir() and not hidden(p.name)) if parent.is_dir() else []
    return f" (in {parent} there are {', '.join(names[:5])})" if names else ""


def inventory(found: list[Path]) -> str:
    """How many files of which kinds there are, the most frequent first."""
    kinds = Counter(path.suffix.lower() or "files without a suffix" for path in found)
    return "found " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(4)) if kinds else "it is empty"
