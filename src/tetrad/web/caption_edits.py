"""Edits of a data set's captions: one by one or many at once, each of which can be undone."""

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.data.captions.caption_files import CAPTION_SUFFIXES, BadCaption, read_caption, read_caption_file
from tetrad.data.captions.captions import split_tags
from tetrad.data.discover.image_files import exclude_masks, select_images
from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import replace_file
from tetrad.locales import _
from tetrad.web.data_sets import DataSet

_MAX_LETTERS = 20_000  # of a caption; one has a sentence or two


@dataclass(frozen=True)
class Change:
    """An edit: the texts of some images before and after it, by the image's id."""

    id: str
    title: str  # what was done, for the button that undoes it
    time: float
    images: tuple[str, ...]


class CaptionEdits:
    """Reads and writes the captions of a data set; what was there before is kept in a file for each image."""

    def __init__(self, data_set: DataSet) -> None:
        self.data_set = data_set

    def list_images(self) -> dict[str, Path]:
        """The images of the set by id, in the order of their names."""
        paths = exclude_masks(select_images(self.data_set.list_paths())[0])
        return {self.data_set.id_of(path): path for path in paths}

    def read(self, image: str) -> str:
        """The caption file's text of an image; "" for none.  E4303 where there is no such image."""
        return read_caption(self.data_set.path_of(image)).text

    def read_all(self) -> dict[str, str]:
        """The caption file's text of each image by id, "" for none."""
        return {image: read_caption(path).text for image, path in self.list_images().items()}

    def write(self, texts: Mapping[str, str], title: str = "") -> list[str]:
        """Write captions by image id as one change; returns the images whose caption is another one now.

        E4303 for an unknown image, E4305 for a text that is too long, E4202 where a file cannot be written.
        """
        with self.data_set.lock:
            self.data_set.prepare_edit()
            images = self.list_images()
            for image, text in texts.items():
                self._check(images, image, text)
            before = {image: read_caption(images[image]).text for image in texts}
            after = {image: _normalize(text) for image, text in texts.items()}
            changed = [image for image in texts if before[image] != after[image]]
            if changed:
                change = Change(uuid.uuid4().hex, title, time.time(), tuple(changed))
                for image in changed:
                    self._append(
                        self._history(image), {"change": change.id, "before": before[image], "after": after[image]}
                    )
                    _write_caption(images[image], after[image])
                self._append(self._changes, vars(change))
        return changed

    def change(self, edit: Callable[[str], str], images: Iterable[str] | None = None, title: str = "") -> list[str]:
        """Change the captions of these images, or of all, as one change; returns those that are changed."""
        found = self.read_all()
        chosen = found if images is None else [image for image in images if image in found]
        return self.write({image: edit(found[image]) for image in chosen}, title)

    def change_tags(self, tags: Sequence[str], adds: bool, images: Iterable[str] | None = None) -> list[str]:
        """Add tags to the captions that do not have them, or remove them from those that do, as one change."""

        def edit(caption: str) -> str:
            found = split_tags(caption)
            if adds:
                new = [tag for tag in tags if tag not in found]
                return ", ".join([*found, *new]) if new else caption
            return ", ".join(each for each in found if each not in tags) if {*tags} & {*found} else caption

        return self.change(edit, images, ", ".join(tags))

    def replace(self, find: str, replacement: str, images: Iterable[str] | None = None) -> list[str]:
        """Replace a text wherever it stands in a caption."""
        if not find:
            raise TetradError("E4305", _("there is nothing to look for; type what is to be replaced"))
        return self.change(lambda caption: caption.replace(find, replacement), images, f"{find} → {replacement}")

    def count_tags(self) -> Counter[str]:
        """How many images have each tag."""
        return Counter(tag for caption in self.read_all().values() for tag in dict.fromkeys(split_tags(caption)))

    def list_changes(self) -> list[Change]:
        """The changes that can be undone, the last one first."""
        undone = {each["undone"] for each in self._read(self._changes) if "undone" in each}
        changes = [
            Change(**each | {"images": tuple(each["images"])}) for each in self._read(self._changes) if "id" in each
        ]
        return [change for change in reversed(changes) if change.id not in undone]

    def read_history(self, image: str) -> list[str]:
        """The captions that an image had before, the newest first."""
        return [str(each["before"]) for each in reversed(list(self._read(self._history(image))))]

    def undo(self) -> tuple[Change, list[str]]:
        """Undo the last change; returns it, and the images that keep their caption because it was changed since.

        E4305 where there is nothing to undo.
        """
        with self.data_set.lock:
            changes = self.list_changes()
            if not changes:
                raise TetradError("E4305", _("there is no change of captions left to undo"))
            change, kept = changes[0], []
            images = self.list_images()
            for image in change.images:
                record = next(each for each in self._read(self._history(image)) if each["change"] == change.id)
                if image not in images or read_caption(images[image]).text != record["after"]:
                    kept.append(image)
                else:
                    _write_caption(images[image], record["before"])
            self._append(self._changes, {"undone": change.id})
        return change, kept

    @property
    def _changes(self) -> Path:
        return self.data_set.hidden / "changes.jsonl"

    def _history(self, image: str) -> Path:
        return self.data_set.hidden / "captions" / f"{image}.jsonl"

    def _check(self, images: Mapping[str, Path], image: str, text: str) -> None:
        if image not in images:
            template = _("{name} has no image {image}; it was removed")
            raise TetradError("E4303", template, name=self.data_set.name, image=image)
        if len(text) > _MAX_LETTERS:
            template = _("the caption of {file} has {count:,} letters, and the limit is {limit:,}; shorten it")
            raise TetradError("E4305", template, file=images[image].name, count=len(text), limit=_MAX_LETTERS)

    def _append(self, path: Path, record: Mapping[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _read(self, path: Path) -> Iterator[dict[str, Any]]:
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            yield parse_json(line)


def _normalize(text: str) -> str:
    """A caption as reading its file gives it back, so that writing it again is no change."""
    return "\n".join(stripped for line in text.splitlines() if (stripped := " ".join(line.split()).strip(" ,，")))


def _write_caption(image: Path, text: str) -> None:
    """Write the caption file that is read for an image.  E4202 where it cannot be written."""
    path = _find_caption_file(image, CAPTION_SUFFIXES)
    try:
        replace_file(path, text.encode("utf-8", "replace"))
    except OSError as error:
        template = _("{path} cannot be written ({reason}); choose another folder")
        raise TetradError("E4202", template, path=path, reason=error.strerror) from error


def _find_caption_file(image: Path, suffixes: Sequence[str]) -> Path:
    for suffix in suffixes:
        try:
            if read_caption_file(image.with_suffix(suffix))[0]:
                return image.with_suffix(suffix)
        except BadCaption:
            continue
    return image.with_suffix(".txt")
