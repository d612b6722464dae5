"""Nested values of JSON and YAML as flat keys."""

from collections.abc import Mapping
from typing import Any

from tetrad.interchange.job import Entry, table_name


def flatten(values: Mapping[str, Any], prefix: str = "", whole: tuple[str, ...] = ()) -> dict[str, Entry]:
    """`{"unet": {"train": true}}` as `unet.train`, lists of tables as `name[0].key`; keys in `whole` stay whole."""
    flat: dict[str, Entry] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if table_name(name) in whole:
            flat[name] = Entry(name, value)
        elif isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.", whole)
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value):
                flat |= flatten(item, f"{name}[{number}].", whole)
        else:
            flat[name] = Entry(name, value)
    return flat
