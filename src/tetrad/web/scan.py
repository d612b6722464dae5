"""What becomes of each image of a data set in training: used as it is, changed, worth a look, or left out.

It decodes images, so it runs in the child process `images_child`. All judgement is that of `tetrad scan`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tetrad.cache_location import get_cache_folder
from tetrad.data.cache_folder import CacheFolder
from tetrad.data.captions.caption_files import CAPTION_SUFFIXES
from tetrad.data.dataset import Photo, inspect_photos, warn_about_captions
from tetrad.data.discover.image_files import FileProblem
from tetrad.data.discover.layouts import Listing
from tetrad.images.examine import FIXES
from tetrad.inspection.dataset import list_images, make_report
from tetrad.inspection.dataset.report import DatasetReport, Finding, ScannedImage
from tetrad.inspection.dataset.scan import DEFAULT_RESOLUTION

Verdict = Literal["ready", "fixed", "look", "unused"]
_Result = tuple[Photo | None, tuple[FileProblem, ...]]
_State = tuple[object, ...]  # of a file: what changes when its content does


class Scanner:
    """Looks at the images of folders; what has not changed since the last look is not opened again."""

    def __init__(self) -> None:
        self._results: dict[_State, _Result] = {}

    def scan(
        self, folder: Path, resolution: int = 0, skipped: Sequence[Path] = (), is_careful: bool = False
    ) -> Iterator[Mapping[str, Any]]:
        """`progress` for each image, then an `image` for each, then a `report` on all of them.

        E4001 and E4002 for a folder without images. Images are decoded a few at a time; a careful scan decodes them
        one by one and says before which one it opens, so that it is known which one ended the process. `skipped` are
        those that did.
        """
        listing = list_images(folder)
        entries = tuple(entry for entry in listing.entries if entry.path not in skipped)
        listing = replace(listing, entries=entries)
        states = [_state_of(entry.path) for entry in entries]
        fresh = [number for number, state in enumerate(states) if state not in self._results]
        opened = _inspect(listing, fresh, resolution or listing.resolution or DEFAULT_RESOLUTION, is_careful)
        for done, number in enumerate(fresh, len(entries) - len(fresh) + 1):
            if is_careful:
                yield {"event": "opening", "path": str(entries[number].path)}
            self._results[states[number]] = next(opened)
            yield {"event": "progress", "done": done, "total": len(entries)}
        results = [self._results[state] for state in states]
        photos = [photo for photo, _problems in results if photo]
        problems = [*listing.problems, *(problem for _photo, found in results for problem in found)]
        report = make_report(listing, photos, [*problems, *warn_about_captions(photos)], resolution)
        yield from map(_describe_image, report.images)
        yield _describe_report(report)


def _inspect(listing: Listing, numbers: Sequence[int], resolution: int, is_careful: bool) -> Iterator[_Result]:
    """Decode some images of a listing: several at once, or one by one."""
    cache = CacheFolder(get_cache_folder())
    entries = [listing.entries[number] for number in numbers]
    for part in [[entry] for entry in entries] if is_careful else [entries]:
        yield from inspect_photos(replace(listing, entries=tuple(part)), cache, lambda: resolution)


def _describe_image(image: ScannedImage) -> Mapping[str, Any]:
    return {
        "event": "image",
        "path": str(image.path),
        "verdict": _judge(image),
        "reasons": [_record(finding) for finding in image.findings],
        "width": image.width,
        "height": image.height,
        "caption": image.caption,
        "caption_source": image.caption_source,
        "tokens": image.tokens,
    }


def _judge(image: ScannedImage) -> Verdict:
    if image.state == "skipped":
        return "unused"
    if any(finding.code not in FIXES for finding in image.findings):
        return "look"
    return "fixed" if image.state == "fixed" else "ready"


def _describe_report(report: DatasetReport) -> Mapping[str, Any]:
    return {
        "event": "report",
        "advice": [
            {"level": each.level, "code": each.code, "files": list(each.files), **each.text.as_record()}
            for each in report.advice
        ],
        "problems": [_record(finding) for finding in report.other_problems],
        "copies": [list(group) for group in report.copies],
        "similar": [list(group) for group in report.similar],
        "counts": {"used": len(report.used), "fixed": len(report.fixed_images), "skipped": len(report.skipped_images)},
    }


def _record(finding: Finding) -> Mapping[str, Any]:
    return {"code": finding.code, **finding.text.as_record()}


def _state_of(path: Path) -> _State:
    """What changes when the image or one of its caption files does."""
    states: list[object] = [path]
    for each in (path, *(path.with_suffix(suffix) for suffix in CAPTION_SUFFIXES)):
        with suppress(OSError):
            state = each.stat()
            states.append((each.suffix, state.st_size, state.st_mtime_ns))
    return tuple(states)
