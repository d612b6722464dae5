"""The keys of kohya's dataset_config.toml: what they are here, and a warning for those that have no effect."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tetrad.data.discover.image_files import list_names
from tetrad.locales import Message, _, ngettext

# kohya's key: its type, and the name of our field.
CAPTION_KEYS = {
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
SUBSET_KEYS = {
    "num_repeats": (int, "repeats"),
    "flip_aug": (bool, "flip"),
    "is_reg": (bool, "is_class_images"),
    "alpha_mask": (bool, "alpha_mask"),
}
SOURCE_KEYS = {
    "image_dir": (str, ""),
    "class_tokens": (str, ""),
    "metadata_file": (str, ""),
    "conditioning_data_dir": (str, ""),
}
# The switches say the opposite of ours.
BUCKET_KEYS = {
    "enable_bucket": (bool, "square"),
    "bucket_no_upscale": (bool, "enlarge"),
    "bucket_reso_steps": (int, "step"),
    "min_bucket_reso": (int, "min_side"),
    "max_bucket_reso": (int, "max_side"),
}
DATASET_KEYS = ("batch_size", "resolution")
KEY_TYPES = CAPTION_KEYS | SUBSET_KEYS | SOURCE_KEYS | BUCKET_KEYS | {"batch_size": (int, "")}
TYPE_NAMES = {bool: _("true or false"), str: _("text"), int: _("a whole number"), float: _("a number")}
# Keys that Tetrad ignores, and the value with which they have no effect in kohya's trainer either.
_UNSUPPORTED_KEYS: dict[str, object] = {
    "network_multiplier": 1.0,
    "validation_split": 0.0,
    "validation_seed": None,
    "resize_interpolation": None,
    "color_aug": False,
    "random_crop": False,
    "face_crop_aug_range": None,
    "custom_attributes": None,
    "cache_info": False,
}
_AUGMENTATION_KEYS = {"color_aug", "random_crop", "face_crop_aug_range"}


def describe_ignored_keys(content: Mapping[str, Any]) -> Iterator[Message]:
    """A warning for all keys that Tetrad ignores, then one for each key that is unknown or in the wrong table."""
    keys = [(level, name, value) for level, table in _walk_tables(content) for name, value in table.items()]
    unsupported = (
        name for _level, name, value in keys if name in _UNSUPPORTED_KEYS and _UNSUPPORTED_KEYS[name] != value
    )
    if ignored := list(dict.fromkeys(unsupported)):
        yield _describe_unsupported_keys(ignored)
    known = [*KEY_TYPES, *DATASET_KEYS, *_UNSUPPORTED_KEYS]
    for level, name in dict.fromkeys((level, name) for level, name, _value in keys):
        if name in ("general", "datasets", "subsets"):
            continue
        if name not in known:
            if closest := difflib.get_close_matches(name, known, n=1):
                template = _("{key} is not a key of a dataset configuration; did you mean {suggestion}?")
                yield Message(template, key=name, suggestion=closest[0])
            else:
                yield Message(_("{key} is not a key of a dataset configuration"), key=name)
        elif level == "" or (level == "subsets" and name in DATASET_KEYS):
            table = "[general]" if level == "" else "[[datasets]]"
            yield Message(_("{key} has no effect in this table; move it to {table}"), key=name, table=table)


def _describe_unsupported_keys(names: Sequence[str]) -> Message:
    keys = list_names(names, len(names))
    if _AUGMENTATION_KEYS & set(names):
        template = ngettext(
            "{keys} has no effect: each image is encoded once, without augmentation, cropped to its center",
            "{keys} have no effect: each image is encoded once, without augmentation, cropped to its center",
            len(names),
        )
        return Message(template, keys=keys)
    return Message(ngettext("{keys} has no effect", "{keys} have no effect", len(names)), keys=keys)


def _walk_tables(content: Mapping[str, Any], level: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every table of a configuration, with the name of its level: "", "general", "datasets" or "subsets"."""
    yield level, content
    for name in ("general", "datasets", "subsets"):
        child = content.get(name)
        for table in child if isinstance(child, list) else [child]:
            if isinstance(table, dict):
                yield from _walk_tables(table, name)
