"""The layouts of picture folders: plain, with a metadata file, and kohya's `10_zkr dog` with `reg` beside it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tetrad.data.caption_files import SUFFIXES, Words
from tetrad.data.listing import Skipped, files, inventory, neighbours, pictures, without_masks
from tetrad.data.metadata_files import NAMES, metadata
from tetrad.data.subsets import Subset, numbered
from tetrad.errors import TetradError

PRIORS = ("reg", "regularization", "regularisation")  # folders of priors in kohya's layout


@dataclass(frozen=True)
class Entry:
    """An image file, the subset it belongs to, and what a metadata file says of it."""

    path: Path
    subset: Subset
    words: Words = Words()


@dataclass(frozen=True)
class Listing:
    """The image files of a data set, none of them opened yet, and what was left out; codes with W are only told."""

    root: Path
    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...] = ()
    batch_size: int = 0  # what the data set asks for; 0: nothing
    resolution: int = 0

    def __len__(self) -> int:
        return len(self.entries)


def in_folder(path: Path, subset: Subset, deep: bool = True) -> Listing:
    """What a folder or a single image holds.  E4001 where there is none, E4002 where no image is in it."""
    if not path.exists():
        raise TetradError("E4001", f"there is no folder {path}{neighbours(path)}; give a folder of pictures")
    found, skipped = files(path, deep)
    paths, not_read = pictures(found)
    paths = without_masks(paths)
    if not paths and not skipped and not not_read:
        raise TetradError("E4002", f"no picture is in {path} ({inventory(found)}); give JPEG, PNG or WebP files")
    said, problems = in_metadata(found)
    folders = subsets(path, paths, subset)
    loose = [place for place in paths if folders and place.parent not in folders]
    entries = tuple(
        Entry(place, folders.get(place.parent, subset), said.get(place, Words()))
        for place in paths
        if not folders or place.parent in folders
    )
    return Listing(path, entries, (*skipped, *not_read, *problems, *left_out(loose), *shared(paths, found)))


def in_metadata(found: Sequence[Path]) -> tuple[dict[Path, Words], list[Skipped]]:
    """What the metadata files among files say; one that is deeper has the last word."""
    said: dict[Path, Words] = {}
    problems: list[Skipped] = []
    for path in sorted((path for path in found if path.name in NAMES), key=lambda path: len(path.parts)):
        read = metadata(path, path.parent)
        said |= {place: Words(text, path.name) for place, text in read.captions.items()}
        problems += [Skipped(path, code, reason) for code, reason in read.problems]
    return said, problems


def subsets(root: Path, paths: Sequence[Path], given: Subset) -> dict[Path, Subset]:
    """Which folders are kohya's, `10_zkr dog` or something below it, and what their names say.

    Where there is one, pictures elsewhere do not belong to the data set: web UIs keep samples beside it.
    """
    found: dict[Path, Subset] = {}
    for folder in sorted({path.parent for path in paths}):
        above = [folder, *folder.parents]
        above = above[: above.index(root) + 1] if root in above else [folder]
        for place in above:
            if name := numbered(place.name):
                prior = any(higher.name.lower() in PRIORS for higher in above[above.index(place) :] if higher != root)
                named = replace(given, prior=given.prior or prior, repeats=name[0]).named(name[1])
                found[folder] = named
                break
    return found


def left_out(loose: Sequence[Path]) -> Iterator[Skipped]:
    """Each folder whose pictures do not belong to the data set."""
    for folder, number in Counter(path.parent for path in loose).items():
        what = "its picture is" if number == 1 else f"its {number} pictures are"
        reason = f"{what} in no folder named like '10_zkr dog', as others here are, and so left out"
        yield Skipped(folder, "W4150", reason)


def shared(paths: Sequence[Path], found: Sequence[Path]) -> Iterator[Skipped]:
    """Each caption file that stands beside several pictures of its name."""
    pictures_of = Counter(path.with_suffix("") for path in paths)
    for path in found:
        if path.suffix in SUFFIXES and (number := pictures_of[path.with_suffix("")]) > 1:
            yield Skipped(path, "W4154", f"{number} pictures have this name, and all get this one caption")
