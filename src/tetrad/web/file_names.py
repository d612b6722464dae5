"""The names of a data set's files: safe ones for the disk, and the original ones as text for people."""

import json
import os
from contextlib import suppress
from pathlib import Path

from tetrad.data.discover.image_files import IMAGE_SUFFIXES
from tetrad.documents import parse_json
from tetrad.installation import make_safe_stem

MASK_END = "-masklabel"  # of the stem of a mask file
# Images that cannot be used have a place too: the list of images says what to do with each.
UNUSABLE_SUFFIXES = (".heic", ".heif", ".jxl", ".psd", ".svg", ".pdf", ".dng", ".cr2", ".cr3", ".nef", ".arw")


class FileNames:
    """What each file of a set was called, in a file with a line for each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.originals: dict[str, str] = {}  # by the file's place in the set
        self.images = 0
        self._stems: dict[str, str] = {}  # by original stem
        self._taken: set[str] = set()  # stems, in one case, as some systems know only one
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            self._remember(*parse_json(line))

    def choose_stem(self, original: str, is_another: bool = False) -> str:
        """A safe stem for a file that was called `original`.

        Files that belong together (an image, its caption, its mask) had one stem, and get one; unless this `is_another`
        file of the same name.
        """
        stem, mask_end = _split_stem(original)
        if not is_another and (known := self._stems.get(stem)):
            return known + mask_end
        safe = make_safe_stem(stem.rpartition("/")[2])
        numbered = (safe if number == 1 else f"{safe}-{number}" for number in range(1, len(self._taken) + 2))
        return next(each for each in numbered if each.casefold() not in self._taken) + mask_end

    def add(self, place: str, original: str) -> None:
        """Keep what a file was called.  OSError where it cannot be written, as on a full disk; nothing is kept then."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([place, original]) + "\n")
        except OSError:
            with suppress(OSError):
                os.truncate(self.path, size)  # of a line that fits only in part, the rest of the file could not be read
            raise
        self._remember(place, original)

    def _remember(self, place: str, original: str) -> None:
        self.images += place not in self.originals and get_suffix(place) in (*IMAGE_SUFFIXES, *UNUSABLE_SUFFIXES)
        self.originals[place] = original
        stem = _split_stem(place)[0]
        self._stems.setdefault(_split_stem(original)[0], stem)
        self._taken.add(stem.casefold())


def get_suffix(name: str) -> str:
    """The extension of a name from any system, in small letters: `.jpg`."""
    return Path(get_last_part(name)).suffix.lower()


def get_last_part(name: str) -> str:
    """A name from any system without its folders."""
    return name.replace("\\", "/").rpartition("/")[2]


def _split_stem(name: str) -> tuple[str, str]:
    """A name without its extension and without the end of a mask file, and that end."""
    folder, slash, last = name.replace("\\", "/").rpartition("/")
    stem = f"{folder}{slash}{Path(last).stem}"
    return (stem.removesuffix(MASK_END), MASK_END) if stem.endswith(MASK_END) else (stem, "")
