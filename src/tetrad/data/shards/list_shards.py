"""List the images of shards, with the captions that stand in JSON files beside them."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tetrad.data.captions.caption_files import RawCaption
from tetrad.data.captions.metadata_files import get_caption
from tetrad.data.discover.image_files import (
    FileProblem,
    exclude_masks,
    is_hidden,
    is_image_name,
    list_names,
    select_images,
)
from tetrad.data.discover.layouts import ImageEntry, Listing
from tetrad.data.discover.subsets import Subset, get_caption_suffixes
from tetrad.data.shards.member_path import MemberPath
from tetrad.data.shards.shard import Shard, is_shard_name, read_shard
from tetrad.data.shards.table_shard import TABLE_SUFFIXES
from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.locales import Message, _, ngettext
from tetrad.paths import expand_pattern, is_pattern

_MAX_JSON_BYTES = 100_000
_SAVED_NAMES = ("dataset_dict.json", "dataset_infos.json", "README.md")  # in the folder of a Hugging Face data set
_TRAINING_FOLDERS = ("train", "data")  # in it
_LOOKED_AT = 4  # shards that a plan reads the names in


def find_shards(path: Path) -> list[Path]:
    """The shards that a path names: one, all of a folder without images, or those of a pattern; [] if it is none.

    E4182 where a pattern names shards that do not exist.
    """
    if path.is_file():
        return [path] if is_shard_name(path.name) else []
    if path.is_dir():
        return _find_in_folder(path)
    if not is_pattern(path):
        return []
    shards = [each for each in expand_pattern(path) if is_shard_name(each.name)]
    missing = [each.name for each in shards if not each.is_file()]
    if missing or not shards:
        raise _missing_shards_error(path, missing, len(shards))
    return shards


def _find_in_folder(folder: Path) -> list[Path]:
    """The shards of a folder without images, or of the folder in it that a saved data set has its images in."""
    paths = [each for each in folder.iterdir() if not is_hidden(each.name)]
    if any(is_image_name(each.name) for each in paths):
        return []
    if shards := sorted(each for each in paths if is_shard_name(each.name) and each.is_file()):
        tables = [each for each in shards if each.suffix.lower() in TABLE_SUFFIXES]
        others = [each for each in tables if not each.name.startswith("train")]  # of testing, and indices of `datasets`
        return [each for each in shards if each not in others] if len(others) < len(tables) else shards
    inner = next((folder / name for name in _TRAINING_FOLDERS if (folder / name).is_dir()), None)
    is_saved = any((folder / name).is_file() for name in _SAVED_NAMES)
    return _find_in_folder(inner) if inner and is_saved else []


def list_shards(path: Path, shards: Sequence[Path], subset: Subset) -> Listing:
    """The images of shards, in the order of the shards and of their files.  E4002 where there are none."""
    entries: list[ImageEntry] = []
    problems: list[FileProblem] = []
    for shard in shards:
        found, shard_problems = list_shard(shard, subset)
        entries += found
        problems += shard_problems
    if not entries and not problems:
        raise TetradError(
            "E4002",
            _("{path} has no images; give .tar, .parquet or .arrow files with JPEG, PNG or WebP images"),
            path=path,
        )
    root = path if path.is_dir() else shards[0].parent
    return Listing(root, tuple(entries), tuple(problems), shards=tuple(shards))


def estimate_shards(path: Path, shards: Sequence[Path], subset: Subset) -> tuple[Listing, int, bool]:
    """The images of a few shards, how many images all shards have, and whether all were counted.

    Where not, the number is estimated from the sizes of the shards.  E4002 where the few have no images.
    """
    chosen = [shards[number * len(shards) // _LOOKED_AT] for number in range(_LOOKED_AT)]
    chosen = list(dict.fromkeys(chosen)) if len(shards) > _LOOKED_AT else list(shards)
    listing = list_shards(path, chosen, subset)
    if len(chosen) == len(shards):
        return listing, len(listing), True
    seen, size = (sum(shard.stat().st_size for shard in each) for each in (chosen, shards))
    return listing, round(len(listing) * size / seen), False


def list_shard(shard: Path, subset: Subset) -> tuple[list[ImageEntry], list[FileProblem]]:
    """The images of one shard, and what is wrong with it."""
    try:
        index = read_shard(shard)
    except OSError as error:
        reason = Message(_("it cannot be read ({reason}); check its permissions"), reason=error.strerror)
        return [], [FileProblem(shard, "E4123", reason)]
    problems = [FileProblem(shard / PurePosixPath(name).name, "E4122", reason) for name, reason in index.bad_names]
    if index.damage:
        problems.append(FileProblem(shard, "E4123", index.damage))
    names = [name for name in index.members if not any(map(is_hidden, name.split("/")))]
    images, unsupported = select_images([MemberPath(shard, name) for name in names if is_image_name(name)])
    beside = _Beside(shard, index, get_caption_suffixes(subset.caption_settings.extension))
    entries = [ImageEntry(image, subset, beside.read_json(image)) for image in _exclude_parts(exclude_masks(images))]
    return entries, [*problems, *unsupported, *beside.report_missing(entries)]


def _exclude_parts(images: list[Path]) -> list[Path]:
    """Drop `a.seg.png` where there is an `a.jpg`: what follows the first dot is then the name of another part of it."""
    keys = {image.parent / image.stem for image in images if image.stem.count(".") == 0}
    return [image for image in images if "." not in image.stem or image.parent / image.stem.split(".")[0] not in keys]


@dataclass(frozen=True)
class _Beside:
    """What captions a shard has for its images."""

    shard: Path
    index: Shard
    suffixes: Sequence[str]  # of caption files

    def read_json(self, image: Path) -> RawCaption:
        """The caption of a JSON file beside an image that has no caption file, as webdataset's writers give it."""
        if self._has_caption_file(image) or f"{self._get_base(image)}.json" not in self.index.members:
            return RawCaption()
        with suppress(OSError, ValueError):
            values = parse_json(image.with_suffix(".json").read_bytes()[:_MAX_JSON_BYTES].decode("utf-8-sig"))
            if isinstance(values, dict) and (text := get_caption(values)):
                return RawCaption(text, ".json")
        return RawCaption()

    def report_missing(self, entries: Sequence[ImageEntry]) -> Iterator[FileProblem]:
        """Warn about a shard in which some images have a caption and others have none."""
        without = [
            entry.path for entry in entries if not entry.raw_caption.text and not self._has_caption_file(entry.path)
        ]
        if without and len(without) < len(entries):
            template = ngettext(
                "{count} of its {total} images has no caption: {files}",
                "{count} of its {total} images have no caption: {files}",
                len(without),
            )
            names = list_names([path.name for path in without])
            yield FileProblem(self.shard, "W4166", Message(template, total=len(entries), files=names))

    def _has_caption_file(self, image: Path) -> bool:
        base = self._get_base(image)
        return any(f"{base}{suffix}" in self.index.members for suffix in self.suffixes)

    def _get_base(self, image: Path) -> str:
        """The name of an image in the shard without its suffix."""
        return image.as_posix()[len(self.shard.as_posix()) + 1 :].removesuffix(image.suffix)


def _missing_shards_error(path: Path, missing: Sequence[str], total: int) -> TetradError:
    if not total:
        return TetradError("E4182", _("{path} names no .tar, .parquet or .arrow file; check the pattern"), path=path)
    template = ngettext(
        "{path} names {total} shards, and {count} of them is missing: {names}; copy it again, or give a pattern of"
        " those that exist",
        "{path} names {total} shards, and {count} of them are missing: {names}; copy them again, or give a pattern of"
        " those that exist",
        len(missing),
    )
    return TetradError("E4182", template, path=path, total=total, names=list_names(missing))
