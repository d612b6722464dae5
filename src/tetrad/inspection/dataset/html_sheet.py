"""The report on a data set as one HTML file with thumbnails: no scripts, and nothing that is loaded from elsewhere."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tetrad.data.parallel import map_ahead
from tetrad.inspection.dataset.advice import LANGUAGES
from tetrad.inspection.dataset.report import DatasetReport, ScannedImage
from tetrad.inspection.html_page import embed_thumbnail, escape_text, make_page
from tetrad.locales import Message, _, presentable, translate

_THUMBNAIL_SIDE = 240  # pixels, for screens of high resolution
_MAX_THUMBNAILS = 2000
_SHOWN_TAGS, _SHOWN_BUCKETS = 24, 12
_SIGNS = {"bad": "✗", "warn": "!", "tip": "→"}
_TO_DO, _IMAGES = Message(_("What to do")), Message(_("Images"))
_CLASS_IMAGE, _NO_CAPTION = Message(_("class image")), Message(_("no caption of its own"))
_DOUBTS = ("W4131", "W4139", "W4140", "W4142", "W4143", "W4144", "W4145", "W4155", "W4156")


def make_html_sheet(report: DatasetReport) -> str:
    """The whole page, in the reader's language."""
    title = str(Message(_("Images of {name}"), name=presentable(report.path.name)))
    parts = (
        _header(report, title),
        _advice(report),
        '<div class="columns">',
        *_charts(report),
        "</div>",
        _chart_tags(report),
        _gallery(report),
    )
    return make_page(title, "".join(parts))


def _header(report: DatasetReport, title: str) -> str:
    numbers = {
        _("used"): report.used,
        _("converted on loading"): report.fixed_images,
        _("left out"): report.skipped_images,
        _("class images"): report.class_images,
    }
    items = "".join(
        f"<div><dt>{escape_text(translate(name))}</dt><dd>{len(images)}</dd></div>"
        for name, images in numbers.items()
        if images or name in ("used", "left out")
    )
    return (
        f'<header><h1>{escape_text(title)}</h1><p class="quiet">{escape_text(report.layout)}</p>'
        f'<dl class="numbers">{items}</dl></header>'
    )


def _advice(report: DatasetReport) -> str:
    rows: list[tuple[str, str, Message, str]] = [
        (each.level, _SIGNS[each.level], each.text, each.code) for each in report.advice
    ]
    rows += [("warn", "!", problem.text, problem.code) for problem in report.other_problems]
    if not rows:
        rows = [("ok", "✓", Message(_("These images are ready for training.")), "")]
    items = "".join(
        f'<li><span class="sign {level}" aria-hidden="true">{sign}</span>'
        f'<span>{escape_text(text)} <span class="quiet small">{code}</span></span></li>'
        for level, sign, text, code in rows
    )
    return f'<section class="card"><h2>{escape_text(_TO_DO)}</h2><ul class="advice">{items}</ul></section>'


def _charts(report: DatasetReport) -> Iterator[str]:
    captions = report.captions
    if not report.used:
        return
    yield _chart(translate(_("Shorter side in pixels")), report.sizes)
    yield _chart(translate(_("Shapes")), {str(name): number for name, number in report.shapes.items()})
    title = Message(_("Buckets at {resolution} pixels"), resolution=report.resolution)
    yield _chart(title, {_describe_bucket(bucket): bucket.images for bucket in report.buckets[:_SHOWN_BUCKETS]})
    own, missing = captions.own, len(captions.missing)
    coverage = {translate(_("own caption")): own, translate(_("no caption of their own")): missing}
    if captions.trigger_word:
        lacking = len(captions.without_trigger_word)
        coverage[str(Message(_("with {word}"), word=captions.trigger_word))] = own - lacking
    yield _chart(translate(_("Captions")), coverage)
    if captions.own:
        yield _chart(translate(_("Tokens of a caption")), captions.token_counts)
    if captions.not_english:
        languages = {translate(LANGUAGES[name]): number for name, number in captions.languages.items()}
        yield _chart(translate(_("Languages of the captions")), languages)


def _chart_tags(report: DatasetReport) -> str:
    tags = {each.label: each.images for each in report.captions.repeated_tags[:_SHOWN_TAGS]}
    return _chart(translate(_("Most frequent tags")), tags, "wide") if tags else ""


def _describe_bucket(bucket: Any) -> str:
    if bucket.cropped < 0.005:
        return f"{bucket.width} × {bucket.height}"
    template = _("{width} × {height}, {share:.0%} cropped")
    return str(Message(template, width=bucket.width, height=bucket.height, share=bucket.cropped))


def _chart(title: object, counts: Mapping[str, int], kind: str = "") -> str:
    """Horizontal bars, each with its name and number."""
    most = max(counts.values(), default=0) or 1
    rows = "".join(
        f"<div><dt>{escape_text(name)}</dt>"
        f'<dd class="track"><span class="bar" style="width:{number / most:.1%}"></span></dd>'
        f"<dd>{number}</dd></div>"
        for name, number in counts.items()
    )
    return f'<section class="card"><h2>{escape_text(title)}</h2><dl class="bars {kind}">{rows}</dl></section>'


def _gallery(report: DatasetReport) -> str:
    filters = {
        "all": (_("all"), len(report.images)),
        "doubtful": (_("to look at"), sum(map(_has_doubt, report.images))),
        "fixed": (_("converted"), len(report.fixed_images)),
        "skipped": (_("left out"), len(report.skipped_images)),
        "uncaptioned": (_("without caption"), len(report.captions.missing) if report.captions.own else 0),
    }
    radios = "".join(
        f'<label><input type="radio" name="show" id="{name}"{" checked" if name == "all" else ""}>'
        f"{escape_text(translate(label))} {number}</label>"
        for name, (label, number) in filters.items()
        if number
    )
    previews = map_ahead(
        _make_thumbnail,
        (
            image.path if number < _MAX_THUMBNAILS and image.width else None
            for number, image in enumerate(report.images)
        ),
    )
    missing = set(report.captions.missing) if report.captions.own else set()
    figures = "".join(
        _figure(image, preview, image.file in missing) for image, preview in zip(report.images, previews, strict=True)
    )
    return (
        f'<section><h2>{escape_text(_IMAGES)}</h2><div class="filters">{radios}</div>'
        f'<div class="gallery">{figures}</div></section>'
    )


def _has_doubt(image: ScannedImage) -> bool:
    return any(finding.code in _DOUBTS for finding in image.findings)


def _make_thumbnail(path: Path | None) -> str:
    """An image as a data URL; "" for none, or for one that cannot be read any more."""
    return embed_thumbnail(path, _THUMBNAIL_SIDE) if path else ""


def _figure(image: ScannedImage, preview: str, lacks_caption: bool) -> str:
    classes = {
        "has-doubt": _has_doubt(image),
        "is-fixed": image.state == "fixed",
        "is-skipped": image.state == "skipped",
        "no-caption": lacks_caption,
    }
    picture = f'<img src="{preview}" alt="" loading="lazy">' if preview else "✗"
    lines = [f'<span class="name">{escape_text(image.file)}</span>']
    if image.width:
        sizes = (f"<span>{width} × {height}</span>" for width, height in ((image.width, image.height), image.bucket))
        lines.append(f'<span class="quiet sizes">{" → ".join(sizes)}</span>')
    for finding in image.findings:
        level = "bad" if image.state == "skipped" else "warn" if finding.code in _DOUBTS else "tip"
        lines.append(f'<span class="mark {level}">{escape_text(finding.text)} ({finding.code})</span>')
    if image.is_class_image:
        lines.append(f'<span class="mark tip">{escape_text(_CLASS_IMAGE)}</span>')
    if lacks_caption:
        lines.append(f'<span class="mark warn">{escape_text(_NO_CAPTION)}</span>')
    if image.caption:
        lines.append(f'<span class="caption" title="{escape_text(image.caption)}">{escape_text(image.caption)}</span>')
    names = " ".join(name for name, applies in classes.items() if applies)
    caption = f"<figcaption>{''.join(lines)}</figcaption>"
    return f'<figure class="{names}"><div class="picture">{picture}</div>{caption}</figure>'
