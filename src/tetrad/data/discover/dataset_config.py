"""Read kohya's dataset_config.toml (or .json): folders, repeats and caption settings of each subset."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod, sqrt
from pathlib import Path
from typing import Any

from tetrad.data.captions.caption_files import BadCaption, RawCaption, read_text
from tetrad.data.captions.metadata_files import read_metadata
from tetrad.data.discover.dataset_keys import (
    BUCKET_KEYS,
    CAPTION_KEYS,
    KEY_TYPES,
    SUBSET_KEYS,
    TYPE_NAMES,
    describe_ignored_keys,
)
from tetrad.data.discover.image_files import FileProblem
from tetrad.data.discover.layouts import ImageEntry, Listing, list_folder
from tetrad.data.discover.subsets import Subset
from tetrad.documents import parse_json, parse_toml
from tetrad.errors import TetradError, naming_file
from tetrad.interchange.read import find_trainer
from tetrad.locales import Message, _
from tetrad.paths import expand_path
from tetrad.settings.toml import replace_in

_MAX_CONFIG_BYTES = 10_000_000
_MAX_REPEATS, _MAX_BATCH_SIZE = 10_000, 256  # as train.batch_size


@dataclass(frozen=True)
class _ConfigSection:
    """A table of the file: its own keys, and those it inherits from the tables around it."""

    location: str  # "datasets[0].subsets[1]"; "" for the whole file
    values: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        """The value of a key, or None.  E4171 if it has the wrong type."""
        value, value_type = self.values.get(key), KEY_TYPES[key][0]
        if value_type is float and type(value) is int:
            return float(value)
        if value is None or type(value) is value_type:
            return value
        raise _invalid_value_error(f"{self.location}.{key}", value, Message(TYPE_NAMES[value_type]))

    def iterate_tables(self, key: str) -> Iterator["_ConfigSection"]:
        """The tables of a list; each inherits the keys of this table that it does not set itself."""
        tables = self.values.get(key)
        if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
            name = f"{self.location}.{key}".lstrip(".")
            raise TetradError("E4171", _("{key} is missing or is not a list of tables"), key=name)
        inherited = {name: value for name, value in self.values.items() if name != key}
        for number, table in enumerate(tables):
            yield _ConfigSection(f"{self.location}.{key}[{number}]".lstrip("."), {**inherited, **table})


def _read_batch_size(dataset: _ConfigSection) -> int:
    """The batch size of a dataset, 0 where it is not given.  E4171 where it is too small or too large."""
    batch_size: int | None = dataset["batch_size"]
    if batch_size is not None and not 1 <= batch_size <= _MAX_BATCH_SIZE:
        expected = Message(_("from {minimum} to {maximum}"), minimum=1, maximum=_MAX_BATCH_SIZE)
        raise _invalid_value_error(f"{dataset.location}.batch_size", batch_size, expected)
    return batch_size or 0


def list_dataset_config(path: Path, defaults: Subset) -> Listing:
    """The images of a configuration; `defaults` holds the values that it does not set.

    Raises E4170 if the file cannot be read, E4171 if a value is invalid, E4001 and E4002 for its folders.
    """
    content = _parse_config(path)
    general = content.get("general", {})
    entries: list[ImageEntry] = []
    problems = [FileProblem(path, "W4151", reason) for reason in describe_ignored_keys(content)]
    sizes: list[tuple[int, int]] = []
    with naming_file(path):
        if not isinstance(general, dict):
            raise _invalid_value_error("general", general, Message(_("a table")))
        datasets = list(_ConfigSection("", {**general, "datasets": content.get("datasets")}).iterate_tables("datasets"))
        sizes = [(_read_batch_size(dataset), _read_resolution(dataset)) for dataset in datasets]
        has_several_resolutions = len({side for _size, side in sizes}) > 1
        for dataset, (_size, dataset_resolution) in zip(datasets, sizes, strict=True):
            folders: set[Path] = set()
            for section in dataset.iterate_tables("subsets"):
                folder = _resolve_subset_folder(path, section)
                if folder not in folders:  # as kohya: a folder counts once per dataset
                    folders.add(folder)
                    listing = _list_config_subset(
                        path,
                        section,
                        folder,
                        replace(defaults, resolution=dataset_resolution if has_several_resolutions else 0),
                    )
                    entries += listing.entries
                    problems += listing.problems
    if len({size for size, _side in sizes}) > 1:
        different_sizes = Message(
            _("its datasets have different values of batch_size ({values}); the first one is used for all"),
            values=", ".join(str(size) for size, _side in sizes),
        )
        problems.append(FileProblem(path, "W4151", different_sizes))
    return Listing(path, tuple(entries), tuple(problems), sizes[0][0], max(side for _size, side in sizes))


def _parse_config(path: Path) -> dict[str, Any]:
    try:
        config_text = read_text(path, _MAX_CONFIG_BYTES)[0]
        content = parse_json(config_text) if path.suffix.lower() == ".json" else parse_toml(config_text)
    except BadCaption as error:
        raise _config_error(path, error.error_message) from error
    except ValueError as error:
        raise _config_error(path, str(error)) from error
    if (not isinstance(content, dict) or "datasets" not in content) and (trainer := find_trainer(path)):
        template = _(
            "{path} is a configuration of a run of {trainer}, not of a data set; run it with: tetrad train --from"
            " {path}"
        )
        raise TetradError("E4170", template, path=path, trainer=trainer)
    if not isinstance(content, dict) or "datasets" not in content:
        raise TetradError(
            "E4170",
            _("{path} is not a kohya dataset configuration; it must have [[datasets]] with [[datasets.subsets]]"),
            path=path,
        )
    return content


def _config_error(path: Path, reason: Message | str) -> TetradError:
    return TetradError(
        "E4170", _("the dataset configuration {path} cannot be read: {reason}"), path=path, reason=reason
    )


def _invalid_value_error(key: str, value: object, expected: Message) -> TetradError:
    return TetradError(
        "E4171", _("{key} is {value}; it must be {expected}"), key=key, value=repr(value), expected=expected
    )


def _list_config_subset(path: Path, section: _ConfigSection, folder: Path, defaults: Subset) -> Listing:
    """The images of one [[datasets.subsets]] table."""
    fields = {field: section[key] for key, (_type, field) in SUBSET_KEYS.items() if section[key] is not None}
    caption_fields = {field: section[key] for key, (_type, field) in CAPTION_KEYS.items() if section[key] is not None}
    buckets = {
        field: not value if type(value) is bool else value
        for key, (_type, field) in BUCKET_KEYS.items()
        if (value := section[key]) is not None
    }
    own_settings = {f"data.{field}" for field in fields} | {f"data.captions.{field}" for field in caption_fields}
    subset = replace(
        defaults,
        **fields,
        buckets=replace_in("data.buckets", defaults.buckets, **buckets),
        caption_settings=replace_in("data.captions", defaults.caption_settings, **caption_fields),
        own_settings=frozenset(own_settings),
    )
    if subset.is_class_images:
        subset = replace(subset, trigger_word="")
    if not 1 <= subset.repeats <= _MAX_REPEATS:
        expected = Message(_("from {minimum} to {maximum}"), minimum=1, maximum=_MAX_REPEATS)
        raise _invalid_value_error(f"{section.location}.num_repeats", subset.repeats, expected)
    if masks := section["conditioning_data_dir"]:
        subset = replace(subset, masks=str(_resolve_relative_path(path, masks)))
    if class_tokens := section["class_tokens"]:
        subset = replace(subset.with_class_tokens(class_tokens), caption_source="class_tokens")
    if metadata_file := section["metadata_file"]:
        return list_metadata_file(_resolve_relative_path(path, metadata_file), folder, subset)
    return list_folder(folder, subset, recursive=False)


def list_metadata_file(file: Path, folder: Path, subset: Subset) -> Listing:
    """The images in a folder and below it that have a caption in kohya's metadata file."""
    metadata = read_metadata(file, folder)
    listing = list_folder(folder, subset)
    captioned = [entry for entry in listing.entries if entry.path in metadata.captions]
    if not captioned:
        no_captions = Message(_("{file} has no caption for any image in {folder}"), file=file, folder=folder)
        if not metadata.problems:
            raise TetradError("E4171", no_captions)
        _code, first_reason = metadata.problems[0]
        raise TetradError("E4171", _("{message}: {reason}"), message=no_captions, reason=first_reason)
    entries = tuple(
        replace(entry, raw_caption=RawCaption(metadata.captions[entry.path], file.name)) for entry in captioned
    )
    problems = (FileProblem(file, code, reason) for code, reason in metadata.problems)
    return replace(listing, entries=entries, problems=(*listing.problems, *problems))


def _resolve_subset_folder(path: Path, section: _ConfigSection) -> Path:
    """The folder of a subset: relative to the configuration, or else to the current folder, as in kohya's trainer."""
    if folder := section["image_dir"]:
        return _resolve_relative_path(path, folder)
    if file := section["metadata_file"]:
        return _resolve_relative_path(path, file).parent
    raise TetradError("E4171", _("{table} has no image_dir; give the folder of its images"), table=section.location)


def _resolve_relative_path(config_path: Path, name: str) -> Path:
    relative_path = expand_path(name.replace("\\", "/"))
    return config_path.parent / relative_path if (config_path.parent / relative_path).exists() else relative_path


def _read_resolution(section: _ConfigSection) -> int:
    """The side of the square with the area of a dataset's resolution; 0 if it has none."""
    value = section.values.get("resolution")
    sides = value if isinstance(value, list) else [value] * 2
    if value is None:
        return 0
    if len(sides) != 2 or not all(type(side) is int and 32 <= side <= 4096 for side in sides):
        expected = Message(_("from 32 to 4096, or [width, height] of such numbers"))
        raise _invalid_value_error(f"{section.location}.resolution", value, expected)
    return round(sqrt(prod(sides)))
