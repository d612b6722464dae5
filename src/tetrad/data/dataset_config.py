"""kohya's dataset_config.toml (or .json): which folders, how often, in which words."""

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod, sqrt
from pathlib import Path
from typing import Any

from tetrad.data.caption_files import BadCaption, Words, text
from tetrad.data.layouts import Entry, Listing, in_folder
from tetrad.data.listing import Skipped
from tetrad.data.metadata_files import metadata
from tetrad.data.subsets import Subset
from tetrad.errors import TetradError, naming

LARGEST = 10_000_000  # bytes
MOST_REPEATS = 10_000
# kohya's key: its type, and our field where it has another name.
WORDING = {
    "shuffle_caption": (bool, "shuffle"),
    "caption_separator": (str, "separator"),
    "keep_tokens": (int, "keep_tokens"),
    "keep_tokens_separator": (str, "keep_separator"),
    "secondary_separator": (str, "secondary_separator"),
    "enable_wildcard": (bool, "wildcards"),
    "caption_prefix": (str, "prefix"),
    "caption_suffix": (str, "suffix"),
    "caption_dropout_rate": (float, "dropout"),
    "caption_tag_dropout_rate": (float, "tag_dropout"),
    "caption_dropout_every_n_epochs": (int, "dropout_epochs"),
    "token_warmup_step": (float, "tag_warmup"),
    "token_warmup_min": (int, "first_tags"),
    "caption_extension": (str, "extension"),
}
SUBSET = {
    "num_repeats": (int, "repeats"),
    "flip_aug": (bool, "flip"),
    "is_reg": (bool, "prior"),
    "alpha_mask": (bool, "alpha_mask"),
}
PLACES = {"image_dir": (str, ""), "class_tokens": (str, ""), "metadata_file": (str, "")}
OF_DATASET = ("batch_size", "resolution")
TYPES = WORDING | SUBSET | PLACES | {"batch_size": (int, "")}
TYPE_NAMES = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}
# What has no effect here, and the value with which it has none there either.
WITHOUT_EFFECT: dict[str, object] = {
    "enable_bucket": True,
    "min_bucket_reso": None,
    "max_bucket_reso": None,
    "bucket_reso_steps": None,
    "bucket_no_upscale": False,
    "network_multiplier": 1.0,
    "validation_split": 0.0,
    "validation_seed": None,
    "resize_interpolation": None,
    "color_aug": False,
    "random_crop": False,
    "face_crop_aug_range": None,
    "custom_attributes": None,
    "cache_info": False,
    "conditioning_data_dir": None,
}


CHANGE_PICTURES = {"color_aug", "random_crop", "face_crop_aug_range"}


@dataclass(frozen=True)
class Section:
    """A table of the file: where it stands, and its keys over those of the tables around it."""

    place: str
    values: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        """A value of the right type, or None.  E4171 where it has another."""
        value, kind = self.values.get(key), TYPES[key][0]
        if kind is float and type(value) is int:
            return float(value)
        if value is None or type(value) is kind:
            return value
        raise TetradError("E4171", f"{self.place}.{key} is {value!r}; it must be {TYPE_NAMES[kind]}")

    def tables(self, key: str) -> Iterator["Section"]:
        """The tables of a list, each with this one's keys where it has none of its own."""
        tables = self.values.get(key)
        if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
            raise TetradError("E4171", f"{self.place or 'the file'} has no [[{key}]] or not only tables in it")
        around = {name: value for name, value in self.values.items() if name != key}
        for number, table in enumerate(tables):
            yield Section(f"{self.place}.{key}[{number}]".lstrip("."), {**around, **table})


def configured(path: Path, given: Subset) -> Listing:
    """The pictures of a configuration; what it leaves open is as in `given`.

    Raises E4170 where the file cannot be read, E4171 where its content makes no sense, E4001 and E4002 for its folders.
    """
    content = parsed(path)
    general = content.get("general", {})
    entries: list[Entry] = []
    skipped = [Skipped(path, "W4151", reason) for reason in without_effect(content)]
    sizes: list[tuple[int, int]] = []
    with naming(path):
        if not isinstance(general, dict):
            raise TetradError("E4171", f"general is {general!r}; it must be a table")
        datasets = list(Section("", {**general, "datasets": content.get("datasets")}).tables("datasets"))
        sizes = [(dataset["batch_size"] or 0, resolution(dataset)) for dataset in datasets]
        several = len({side for _, side in sizes}) > 1
        for dataset, (_, side) in zip(datasets, sizes, strict=True):
            folders: set[Path] = set()
            for section in dataset.tables("subsets"):
                folder = place(path, section)
                if folder not in folders:  # kohya, too, takes a folder once in a dataset
                    folders.add(folder)
                    listing = in_subset(path, section, folder, replace(given, resolution=side if several else 0))
                    entries += listing.entries
                    skipped += listing.skipped
    if len({size for size, _ in sizes}) > 1:
        reason = f"its datasets have different batch_size, {[size for size, _ in sizes]}; the first is used for all"
        skipped.append(Skipped(path, "W4151", reason))
    return Listing(path, tuple(entries), tuple(skipped), sizes[0][0], max(side for _, side in sizes))


def parsed(path: Path) -> dict[str, Any]:
    try:
        written = text(path, LARGEST)[0]
        content = json.loads(written) if path.suffix.lower() == ".json" else tomllib.loads(written)
    except BadCaption as bad:
        raise TetradError(
            "E4170", f"the dataset configuration {path} cannot be read: {bad.reason}; {bad.advice}"
        ) from bad
    except (ValueError, RecursionError) as error:
        raise TetradError("E4170", f"the dataset configuration {path} cannot be read: {error}") from error
    if not isinstance(content, dict) or "datasets" not in content:
        what = "it needs [[datasets]] with [[datasets.subsets]] in it"
        raise TetradError("E4170", f"{path} is no dataset configuration as kohya's trainer reads it; {what}")
    return content


def in_subset(path: Path, section: Section, folder: Path, given: Subset) -> Listing:
    """The pictures of one [[datasets.subsets]]."""
    fields = {field: section[key] for key, (_, field) in SUBSET.items() if section[key] is not None}
    wording = {field: section[key] for key, (_, field) in WORDING.items() if section[key] is not None}
    subset = replace(given, **fields, wording=replace(given.wording, **wording))
    if subset.prior:
        subset = replace(subset, word="")
    if not 1 <= subset.repeats <= MOST_REPEATS:
        reason = f"it must be from 1 to {MOST_REPEATS}"
        raise TetradError("E4171", f"{section.place}.num_repeats is {subset.repeats}; {reason}")
    if tokens := section["class_tokens"]:
        subset = replace(subset.named(tokens), caption_source="class_tokens")
    if file := section["metadata_file"]:
        return in_metadata_file(beside(path, file), folder, subset)
    return in_folder(folder, subset, deep=False)


def in_metadata_file(file: Path, folder: Path, subset: Subset) -> Listing:
    """The pictures that kohya's metadata file names, wherever below the folder they are."""
    said = metadata(file, folder)
    listing = in_folder(folder, subset)
    named = [entry for entry in listing.entries if entry.path in said.captions]
    if not named:
        reason = f": {said.problems[0][1]}" if said.problems else ""
        raise TetradError("E4171", f"{file} gives a caption to no picture in {folder}{reason}")
    entries = tuple(replace(entry, words=Words(said.captions[entry.path], file.name)) for entry in named)
    problems = (Skipped(file, code, reason) for code, reason in said.problems)
    return replace(listing, entries=entries, skipped=(*listing.skipped, *problems))


def place(path: Path, section: Section) -> Path:
    """The folder of a subset: beside the configuration, or else where the command runs, as kohya has it."""
    if folder := section["image_dir"]:
        return beside(path, folder)
    if file := section["metadata_file"]:
        return beside(path, file).parent
    raise TetradError("E4171", f"{section.place} has no image_dir; give the folder of its pictures")


def beside(path: Path, name: str) -> Path:
    there = Path(name.replace("\\", "/")).expanduser()
    return path.parent / there if (path.parent / there).exists() else there


def resolution(section: Section) -> int:
    """The side of the square with the area of a dataset's pictures; 0 where it does not say."""
    value = section.values.get("resolution")
    sides = value if isinstance(value, list) else [value] * 2
    if value is None:
        return 0
    if len(sides) != 2 or not all(type(side) is int and 32 <= side <= 4096 for side in sides):
        raise TetradError("E4171", f"{section.place}.resolution is {value!r}; it must be from 32 to 4096, or [w, h]")
    return round(sqrt(prod(sides)))


def without_effect(content: Mapping[str, Any]) -> Iterator[str]:
    """What to say of the keys that are not followed."""
    tables = list(levels(content))
    keys = [(level, name, value) for level, table in tables for name, value in table.items()]
    ignored = [name for _, name, value in keys if name in WITHOUT_EFFECT and WITHOUT_EFFECT[name] != value]
    if ignored := list(dict.fromkeys(ignored)):
        why = ": each picture becomes a latent once, as it is, its middle" if CHANGE_PICTURES & set(ignored) else ""
        yield f"{', '.join(ignored)} {'has' if len(ignored) == 1 else 'have'} no effect here{why}"
    known = [*TYPES, *OF_DATASET, *WITHOUT_EFFECT]
    for level, name in dict.fromkeys((level, name) for level, name, _ in keys):
        if name in ("general", "datasets", "subsets"):
            continue
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            yield f"{name} is no key of a dataset configuration{f'; did you mean {near[0]}?' if near else ''}"
        elif level == "" or (level == "subsets" and name in OF_DATASET):
            where = "under [general]" if level == "" else "under [[datasets]]"
            yield f"{name} has no effect where it stands; put it {where}"


def levels(content: Mapping[str, Any], level: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every table of a configuration with the name of its level."""
    yield level, content
    for name in ("general", "datasets", "subsets"):
        below = content.get(name)
        for table in below if isinstance(below, list) else [below]:
            if isinstance(table, dict):
                yield from levels(table, name)
