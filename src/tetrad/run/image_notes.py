"""What a run says about its images: the problems of files, where captions come from, and what a scan would say."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tetrad.data.dataset import MAX_COMPARED, Photo, describe_caption_sources, exclude_class_images
from tetrad.data.discover.image_files import FileProblem
from tetrad.data.discover.layouts import Listing
from tetrad.data.shards.member_path import get_shown_name
from tetrad.inspection.dataset.report import DatasetReport
from tetrad.inspection.dataset.scan import make_report
from tetrad.inspection.dataset.text import join_counts
from tetrad.locales import Message, _, ngettext
from tetrad.run.events import Note
from tetrad.run.words import SCAN_HINT

_DESCRIBED = 2_000  # of many images, evenly spread
_NAMED = 20  # files of many images, for each code
# What only a scan says. Other notes of a run are about copies, truncated captions, trigger words and buckets.
_ADVICE_OF_SCAN = ("W4140", "W4142", "W4143", "W4144", "W4158", "W4160", "W4161")


def image_notes(listing: Listing, photos: Sequence[Photo], problems: Sequence[FileProblem]) -> Iterator[Note]:
    """The problems of files, of many images the first ones only, a summary, and the short form of a scan."""
    are_many = len(listing) > MAX_COMPARED
    counts: Counter[str] = Counter()
    for problem in problems:
        counts[problem.code] += 1
        if not are_many or counts[problem.code] <= _NAMED:
            yield problem_note(problem)
    for code, count in counts.items():
        if are_many and (further := count - _NAMED) > 0:
            template = ngettext(
                "the same is said of {count} further file; tetrad scan names it",
                "the same is said of {count:,} further files; tetrad scan names them",
                further,
            )
            yield Note(Message(template), code)
    yield Note(dataset_summary(photos, sum(problem.is_skipped_image for problem in problems)))
    described = photos[:: max(1, len(photos) // _DESCRIBED)] if are_many else photos
    if are_many:
        among = _(
            "near duplicates are looked for among up to {limit:,} images only; {sample:,} images are described here"
        )
        yield Note(Message(among, limit=MAX_COMPARED, sample=len(described)))
    yield from _report_notes(make_report(listing, described, problems))


def _report_notes(report: DatasetReport) -> Iterator[Note]:
    """The short form of what `tetrad scan` says: sizes, shapes, and the advice that no other note of a run gives."""
    values = {name: join_counts(counts) for name, counts in (("sizes", report.sizes), ("shapes", report.shapes))}
    yield Note(Message(_("shorter side in pixels: {sizes}; shapes: {shapes}"), **values))
    advice = [each for each in report.advice if each.code in _ADVICE_OF_SCAN]
    yield from (Note(each.text, each.code) for each in advice)
    if advice:
        yield Note(Message(SCAN_HINT, images=report.path))


def problem_note(problem: FileProblem) -> Note:
    """The warning about a file."""
    return Note(Message(_("{file}: {reason}"), file=get_shown_name(problem.path), reason=problem.reason), problem.code)


def dataset_summary(photos: Sequence[Photo], skipped_count: int) -> Message:
    """How many images a run has, where their captions come from, and how many files are skipped."""
    own = exclude_class_images(photos)
    class_image_count = len(photos) - len(own)
    images = Message(ngettext("{count} image", "{count} images", len(own)))
    skipped = Message(ngettext("{count} file skipped", "{count} files skipped", skipped_count))
    captions = describe_caption_sources(own)
    if not class_image_count:
        return Message(_("{images}, {captions}, {skipped}"), images=images, captions=captions, skipped=skipped)
    class_images = Message(ngettext("{count} class image", "{count} class images", class_image_count))
    template = _("{images}, {captions}, {class_images}, {skipped}")
    return Message(template, images=images, captions=captions, class_images=class_images, skipped=skipped)
