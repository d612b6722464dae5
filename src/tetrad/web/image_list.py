"""The images of a data set with what becomes of each, their crops, rotations and masks.

Images are decoded by the child process `images_child`; an image that ends it is named, and the others are looked at.
"""

import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tetrad.data.discover.image_files import get_mask_path
from tetrad.errors import TetradError
from tetrad.locales import Message, _, message_from_record
from tetrad.web.data_sets import DataSet, link_or_copy
from tetrad.web.resident import Resident

_SECONDS = 30.0  # for one image
_ENDED = ("E6201", "E6202")  # errors that say that an image ended the child
_EDITED_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")  # formats that an edit is saved in; others become PNG


@dataclass(frozen=True)
class Reason:
    """Why an image is changed, left out, or worth a look; `code` is "" for what is only said."""

    code: str
    message: Message


@dataclass(frozen=True)
class ImageRow:
    """An image of a set; `verdict` is ready, fixed, look or unused."""

    id: str
    path: Path
    name: str  # what it was called when it came
    verdict: str
    reasons: tuple[Reason, ...]
    width: int  # pixels; 0 where it cannot be opened
    height: int
    caption: str
    caption_source: str  # ".txt", "metadata.jsonl", …
    tokens: int  # of the caption
    has_mask: bool
    is_edited: bool  # cropped or rotated; the original is kept


@dataclass(frozen=True)
class Progress:
    """How many images have been looked at."""

    done: int
    total: int


@dataclass(frozen=True)
class Advice:
    """What to do: level is bad, warn or tip; `files` are the images that it is about, by their place in the set."""

    level: str
    reason: Reason
    files: tuple[str, ...]


@dataclass(frozen=True)
class SetReport:
    """What a scan says about the whole set; images are named by their ids."""

    advice: tuple[Advice, ...]
    problems: tuple[Reason, ...]  # of folders, caption files and metadata files
    copies: tuple[tuple[str, ...], ...]  # groups of files with the same content
    similar: tuple[tuple[str, ...], ...]  # groups of nearly the same image
    culprits: tuple[ImageRow, ...]  # images that ended the process which opened them; there is no other row of them
    counts: Mapping[str, int]  # used, fixed, skipped


@dataclass
class ImageList:
    """Looks at the images of a set, in a child process of its own so that thumbnails need not wait for it."""

    data_set: DataSet
    images: Resident
    _culprits: dict[Path, TetradError] = field(default_factory=dict)  # images that ended the child

    async def scan(self, resolution: int = 0) -> AsyncIterator[Progress | ImageRow | SetReport]:
        """The progress, then the images in the order of their names, then the report.

        `resolution` is that of the training, 0 for the usual one. E4002 for a set without images. The first time takes
        as long as decoding does; later only what has changed is opened.
        """
        is_careful = False
        while True:
            opened = ""
            values = {"folder": str(self.data_set.images), "resolution": resolution, "is_careful": is_careful}
            try:
                request = {"do": "scan", "skipped": list(map(str, self._culprits)), **values}
                async for answer in self.images.ask(request, _SECONDS):
                    opened = answer["path"] if answer["event"] == "opening" else opened
                    if found := self._read_answer(answer):
                        yield found
                return
            except TetradError as error:
                if error.code not in _ENDED or (is_careful and not opened):
                    raise
                if opened:
                    self._culprits[Path(opened)] = error
                is_careful = True

    async def crop(self, image: str, box: tuple[int, int, int, int]) -> Path:
        """Crop an image, and its mask, to (left, top, right, bottom) pixels of it as it is now; returns its path.

        The originals are kept, hidden. E4306 for a box outside the image or a folder of the person's own, E41… where
        the image cannot be opened.
        """
        return await self._edit(image, {"do": "crop", "box": list(box)})

    async def rotate(self, image: str, is_clockwise: bool) -> Path:
        """Rotate an image, and its mask, by 90°; returns its path.  Originals and errors as with `crop`."""
        return await self._edit(image, {"do": "rotate", "is_clockwise": is_clockwise})

    async def _edit(self, image: str, request: Mapping[str, Any]) -> Path:
        self.data_set.prepare_edit()
        path = self.data_set.path_of(image)
        self._require_own(path)
        is_first = self._find_original(path) is None
        mask, place = get_mask_path(path), self._place_of_original(path)
        files = [path, *([mask] if mask.exists() else [])]
        place.parent.mkdir(parents=True, exist_ok=True)
        if is_first:  # a mask that is painted later is none of the original
            for each in files:
                link_or_copy(each, self._place_of_original(each))
        try:
            for each in reversed(files):
                target = each if each.suffix.lower() in _EDITED_SUFFIXES else each.with_suffix(".png")
                await self.images.answer({**request, "path": str(each), "to": str(target)}, _SECONDS)
        except TetradError:
            if is_first:
                self.restore(image)
            raise
        if target != path:
            path.unlink()
        return target

    def restore(self, image: str) -> Path:
        """Undo all crops and rotations; a mask that was painted after the first goes.  E4306 where there is none."""
        path = self.data_set.path_of(image)
        kept = self._find_original(path)
        if kept is None:
            raise TetradError("E4306", _("{file} is neither cropped nor rotated"), file=path.name)
        mask, target = get_mask_path(path), path.with_suffix(kept.suffix)
        _bring_back(kept, target)
        if target != path:
            path.unlink()
        if (kept_mask := self._place_of_original(mask)).exists():
            _bring_back(kept_mask, mask)
        else:
            mask.unlink(missing_ok=True)
        return target

    async def write_mask(self, image: str, mask: Path) -> Path:
        """Write a picture, white where the image counts, as the image's mask file.  E4306 where it is no picture."""
        self.data_set.prepare_edit()
        path = self.data_set.path_of(image)
        target = get_mask_path(path)
        await self.images.answer({"do": "mask", "path": str(mask), "of": str(path), "to": str(target)}, _SECONDS)
        return target

    def remove_mask(self, image: str) -> None:
        self.data_set.prepare_edit()
        get_mask_path(self.data_set.path_of(image)).unlink(missing_ok=True)

    def _read_answer(self, answer: dict[str, Any]) -> Progress | ImageRow | SetReport | None:
        match answer["event"]:
            case "progress":
                return Progress(answer["done"], answer["total"])
            case "image":
                return self._make_row(answer)
            case "report":
                culprits = [
                    self._make_row({"path": str(path), "verdict": "unused", "reasons": [error.as_record()]})
                    for path, error in self._culprits.items()
                    if path.exists()
                ]
                advice = tuple(
                    Advice(each["level"], _read_reason(each), tuple(each["files"])) for each in answer["advice"]
                )
                problems = tuple(map(_read_reason, answer["problems"]))
                copies, similar = (tuple(map(self._name_ids, answer[name])) for name in ("copies", "similar"))
                return SetReport(tuple(advice), problems, copies, similar, tuple(culprits), answer["counts"])
        return None

    def _name_ids(self, files: list[str]) -> tuple[str, ...]:
        return tuple(self.data_set.id_of(self.data_set.images / file) for file in files)

    def _make_row(self, answer: dict[str, Any]) -> ImageRow:
        path = Path(answer["path"])
        return ImageRow(
            self.data_set.id_of(path),
            path,
            self.data_set.name_of(path),
            answer["verdict"],
            tuple(map(_read_reason, answer["reasons"])),
            answer.get("width", 0),
            answer.get("height", 0),
            answer.get("caption", ""),
            answer.get("caption_source", ""),
            answer.get("tokens", 0),
            get_mask_path(path).exists(),
            self._find_original(path) is not None,
        )

    def _place_of_original(self, path: Path) -> Path:
        """Where the original of an edited image is kept."""
        return self.data_set.hidden / "originals" / path.relative_to(self.data_set.images)

    def _find_original(self, path: Path) -> Path | None:
        """The original of an edited image, which may have been of another format; None for one that is not edited."""
        kept = self._place_of_original(path)
        return next((each for each in kept.parent.glob("*") if each.stem == kept.stem), None)

    def _require_own(self, path: Path) -> None:
        if not path.is_relative_to(self.data_set.folder):
            template = _("{file} is in a folder of your own, and no image is changed there; use a copy of the folder")
            raise TetradError("E4306", template, file=path.name)


def _bring_back(kept: Path, path: Path) -> None:
    """Put the original into its place; where nothing was edited yet, both are one file, which a rename leaves alone."""
    os.replace(kept, path)
    kept.unlink(missing_ok=True)


def _read_reason(record: Mapping[str, Any]) -> Reason:
    return Reason(record.get("code", ""), message_from_record(record))
