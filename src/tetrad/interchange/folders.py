"""The folders of images of a configuration: the first is the run's own data, each of the others a table of its own."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

# What a folder has instead of the run's, and what it is where a further folder says nothing.
_UNGIVEN: Mapping[str, Any] = {"repeats": 1, "flip": False, "alpha_mask": False, "masks": "", "trigger_word": ""}
_OF_FOLDER = ("images", "class_word", "resolution", "weight", "class_images", *_UNGIVEN)
_CAPTIONS = "data.captions."


class Folders:
    """Collects the settings of each folder; `current` is the position of the one that is being read, -1 for none."""

    def __init__(self) -> None:
        self.current = -1
        self.tables: dict[int, dict[str, Any]] = {}
        self.copies: list[tuple[int, dict[str, Any]]] = []  # of folders that are used at several resolutions
        self.of_first: set[str] = set()  # the settings that the first folder has for itself

    @contextmanager
    def use(self, position: int) -> Iterator[None]:
        """Settings are those of the folder at this position, 0 for the first one."""
        self.current = position
        if position:
            self.tables.setdefault(position, {})
        try:
            yield
        finally:
            self.current = -1

    def sort(self, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The settings of the run, and those that belong to the current folder, where it is not the first."""
        own = {key: value for key, value in settings.items() if _is_of_folder(key)} if self.current >= 0 else {}
        if self.current == 0:
            self.of_first |= own.keys()
        if self.current < 1 or not own:
            return dict(settings), {}
        table = self.tables[self.current]
        shown: dict[str, Any] = {}
        for key, value in own.items():
            if key.startswith(_CAPTIONS):
                name = key.removeprefix(_CAPTIONS)
                table.setdefault("captions", {})[name] = value
                shown.setdefault("captions", {})[name] = value
            else:
                table[key.removeprefix("data.")] = shown[key.removeprefix("data.")] = value
        return {key: value for key, value in settings.items() if key not in own}, shown

    def copy_at_sides(self, sides: Sequence[int], settings: Mapping[str, Any]) -> None:
        """Add the current folder again at other resolutions; `settings` are those of the run."""
        names = ("images", "class_word", "weight", "class_images", *_UNGIVEN)
        first = {name: settings[f"data.{name}"] for name in names if f"data.{name}" in self.of_first}
        captions = {key.removeprefix(_CAPTIONS): settings[key] for key in self.of_first if key.startswith(_CAPTIONS)}
        table = self.tables[self.current] if self.current else {**first, "captions": captions}
        self.copies += [(self.current, {**table, "resolution": side}) for side in sides]

    def make_tables(self, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The value of data.folders beside the run's settings: what the first has for itself does not count there."""
        captions = {key.removeprefix(_CAPTIONS): value for key, value in settings.items() if key.startswith(_CAPTIONS)}
        shared = {name: value for name, value in captions.items() if _CAPTIONS + name not in self.of_first}
        made = []
        for _position, table in sorted([*self.tables.items(), *self.copies], key=lambda pair: pair[0]):
            ungiven = {
                name: value
                for name, value in _UNGIVEN.items()
                if f"data.{name}" in self.of_first and settings[f"data.{name}"] != value
            }
            own = shared | table.get("captions", {})
            rest = {name: value for name, value in table.items() if name != "captions"}
            made.append({**ungiven, **rest, **({"captions": own} if own != captions else {})})
        return [table for table in made if table.get("images")]


def _is_of_folder(key: str) -> bool:
    return key.startswith(_CAPTIONS) or (key.startswith("data.") and key.removeprefix("data.") in _OF_FOLDER)
