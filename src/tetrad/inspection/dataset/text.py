"""The report on a data set as labelled lines, for a terminal."""

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

from tetrad.inspection.dataset.advice import LANGUAGES
from tetrad.inspection.dataset.report import DatasetReport
from tetrad.locales import Message, _, ngettext, presentable

_NO_BREAK_SPACE = "\u00a0"
_SHOWN_SKIPPED, _SHOWN_TAGS, _SHOWN_BUCKETS = 10, 12, 8


def describe_report(report: DatasetReport) -> Iterator[tuple[str, str]]:
    """What the report says besides its advice: a template for a label, and a text in the reader's language."""
    yield _("images"), _describe_counts(report)
    for image in report.skipped_images[:_SHOWN_SKIPPED]:
        yield "", f"✗ {presentable(image.file)}: {image.findings[0].text} ({image.findings[0].code})"
    if (hidden := len(report.skipped_images) - _SHOWN_SKIPPED) > 0:
        yield "", str(Message(ngettext("… and {count} more", "… and {count} more", hidden)))
    for problem in report.other_problems:
        yield "", f"! {problem.text} ({problem.code})"
    if not report.used:
        return
    sizes = join_counts(report.sizes)
    yield _("sizes"), str(Message(_("shorter side in pixels: {sizes}"), sizes=sizes))
    yield _("shapes"), str(join_counts(report.shapes))
    yield _("buckets"), " · ".join(_format_buckets(report))
    yield from _describe_captions(report)


def describe_layout_line(report: DatasetReport) -> Message:
    """What was scanned, and what kind of data set it is."""
    return Message(_("{path}: {layout}"), path=report.path, layout=report.layout)


def _describe_counts(report: DatasetReport) -> str:
    """How many images are used, changed while they are loaded, left out, and class images."""
    used, fixed, skipped, own = (
        len(each) for each in (report.used, report.fixed_images, report.skipped_images, report.class_images)
    )
    parts = [Message(ngettext("{count} image is used", "{count} images are used", used))]
    if fixed:
        parts.append(Message(ngettext("{count} is converted on loading", "{count} are converted on loading", fixed)))
    if own:
        parts.append(Message(ngettext("{count} class image", "{count} class images", own)))
    parts.append(Message(ngettext("{count} is left out", "{count} are left out", skipped)))
    return " · ".join(map(str, parts))


def join_counts(counts: Mapping[Any, int]) -> Message:
    """`64–255: 3 · 256–511: 5`, in the language of whoever reads it; the names may be messages."""
    phrases = [Message(_("{name}: {number}"), name=name, number=number) for name, number in counts.items()]
    return reduce(lambda first, rest: Message(_("{first} · {rest}"), first=first, rest=rest), phrases or [Message("")])


def _format_buckets(report: DatasetReport) -> Iterator[str]:
    yield str(Message(_("at {resolution} pixels"), resolution=report.resolution))
    for bucket in report.buckets[:_SHOWN_BUCKETS]:
        cropped = Message(_(", {share:.0%} cropped"), share=bucket.cropped) if bucket.cropped >= 0.005 else ""
        yield f"{bucket.width} × {bucket.height}: {bucket.images}{cropped}".replace(" ", _NO_BREAK_SPACE)
    if (hidden := len(report.buckets) - _SHOWN_BUCKETS) > 0:
        yield str(Message(ngettext("… and {count} more", "… and {count} more", hidden)))


def _describe_captions(report: DatasetReport) -> Iterator[tuple[str, str]]:
    captions, total = report.captions, len(report.used)
    shares = ngettext("{own} of {count} image with its own", "{own} of {count} images with their own", total)
    yield _("captions"), str(Message(shares, own=captions.own))
    if captions.own:
        template = _("{mean:.0f} tokens on average, {most} at most")
        yield "", str(Message(template, mean=captions.mean_tokens, most=captions.max_tokens))
    if repeated := captions.repeated_tags:
        tags = (f"{presentable(each.label)}: {each.images}" for each in repeated[:_SHOWN_TAGS])
        yield _("tags"), " · ".join([*tags, *(["…"] if len(repeated) > _SHOWN_TAGS else [])])
    if captions.not_english:
        languages = {Message(LANGUAGES[name]): number for name, number in captions.languages.items()}
        yield _("language"), str(join_counts(languages))
