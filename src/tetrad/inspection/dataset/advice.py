"""What to do about a data set, in whole sentences: the worst first."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from tetrad.data.discover.image_files import list_names
from tetrad.inspection.dataset.captions import MAX_TOKENS
from tetrad.inspection.dataset.report import Advice, DatasetReport
from tetrad.locales import Message, Plural, _, ngettext

_FEW_IMAGES = 5
_SHOWN_GROUPS, _SHOWN_NAMES = 2, 4  # of images that show nearly the same
_LEVELS = ("bad", "warn", "tip")  # the worst first
# A language as it is called in a sentence.
LANGUAGES = {
    "Latin": _("Latin script"),
    "Chinese": _("Chinese"),
    "Japanese": _("Japanese"),
    "Korean": _("Korean"),
    "Cyrillic": _("Cyrillic script"),
    "Arabic": _("Arabic script"),
    "Thai": _("Thai"),
    "Hindi": _("Devanagari script"),
    "Hebrew": _("Hebrew"),
    "Greek": _("Greek"),
}


def advise(report: DatasetReport) -> DatasetReport:
    """The report with its advice."""
    advice = [*_advise_on_files(report), *_advise_on_images(report), *_advise_on_captions(report)]
    return replace(report, advice=tuple(sorted(advice, key=lambda each: _LEVELS.index(each.level))))


def _advise_on_files(report: DatasetReport) -> Iterator[Advice]:
    if skipped := report.skipped_images:
        template = ngettext(
            "{files} cannot be used: {reason}",
            "{count} images cannot be used: {files}; the first one: {reason}",
            len(skipped),
        )
        yield _advice(
            "bad",
            skipped[0].findings[0].code,
            template,
            [image.file for image in skipped],
            reason=skipped[0].findings[0].text,
        )
    if report.copies:
        names = [name for group in report.copies for name in group[1:]]
        template = ngettext(
            "{files} is a copy of another image, which therefore counts twice; delete it",
            "{count} images are copies of others, which therefore count more than the rest: {files}; delete them",
            len(names),
        )
        yield _advice("warn", "W4155", template, names)
    if report.similar:
        names = [name for group in report.similar for name in group]
        template = ngettext(
            "{files} show nearly the same; keep the best one, so that it does not count twice",
            "{count} groups of images show nearly the same: {files}; keep the best one of each",
            len(report.similar),
        )
        yield _advice("warn", "W4156", template, names, shown=_list_groups(report.similar))


def _list_groups(groups: Sequence[Sequence[str]]) -> str:
    """`a.png = b.png, c.png = d.png, …`: the first of them, and the first names of each."""
    shown = [" = ".join([*group[:_SHOWN_NAMES], *(["…"] if len(group) > _SHOWN_NAMES else [])]) for group in groups]
    return ", ".join([*shown[:_SHOWN_GROUPS], *(["…"] if len(groups) > _SHOWN_GROUPS else [])])


def _advise_on_images(report: DatasetReport) -> Iterator[Advice]:
    used = report.used
    if 0 < len(used) < _FEW_IMAGES:
        template = ngettext(
            "there is only {count} image, and what is trained will look like it whatever the prompt says; 10 to 50"
            " varied images are usual",
            "there are only {count} images, and what is trained will look like them whatever the prompt says; 10 to 50"
            " varied images are usual",
            len(used),
        )
        yield Advice("warn", "W4146", Message(template))
    for code in _describe_doubts(0):
        files = [image.file for image in used if any(finding.code == code for finding in image.findings)]
        if files:
            template = _describe_doubts(len(files))[code]
            yield _advice("warn", code, template, files, resolution=report.resolution)


def _advise_on_captions(report: DatasetReport) -> Iterator[Advice]:
    captions, used = report.captions, report.used
    if captions.not_english:
        languages = [name for name in captions.languages if name != "Latin"]
        template = ngettext(
            "the caption of {files} is in {language}, which the text encoder of Stable Diffusion does not understand:"
            " it was trained on English; translate it (tetrad captions translate knows common Chinese tags), or leave"
            " only the trigger word and English words",
            "{count} captions are in {language}, which the text encoder of Stable Diffusion does not understand: it was"
            " trained on English; translate them (tetrad captions translate knows common Chinese tags), or leave only"
            " the trigger word and English words",
            len(captions.not_english),
        )
        yield _advice("bad", "W4161", template, captions.not_english, language=Message(LANGUAGES[languages[0]]))
    if captions.own and captions.missing:
        template = ngettext(
            "{files} has no caption of its own, unlike the other images; write one, or it is trained as '{caption}'",
            "{count} images have no caption of their own, unlike the others: {files}; write one for each; without"
            " one, {first} is trained as '{caption}'",
            len(captions.missing),
        )
        first = next(image for image in used if image.file == captions.missing[0])
        yield _advice("warn", "W4158", template, captions.missing, caption=first.caption, first=first.file)
    if captions.too_long:
        template = ngettext(
            "the caption of {files} is longer than {limit} tokens and is cut; shorten it, or set text.max_tokens=225",
            "{count} captions are longer than {limit} tokens and are cut: {files}; shorten them, or set"
            " text.max_tokens=225",
            len(captions.too_long),
        )
        yield _advice("warn", "W4153", template, captions.too_long, limit=MAX_TOKENS)
    if captions.trigger_word and captions.without_trigger_word:
        template = ngettext(
            "the caption of {files} does not have the trigger word {word}; training with --trigger-word {word} puts it"
            " in front",
            "{count} captions do not have the trigger word {word}; training with --trigger-word {word} puts it in"
            " front",
            len(captions.without_trigger_word),
        )
        yield _advice("tip", "W4159", template, captions.without_trigger_word, word=captions.trigger_word)
    if captions.common_tags:
        template = ngettext(
            "the tag {tags} is in nearly all captions; leave it out if it belongs to what you train, so that the"
            " trigger word takes on its meaning (keep it if it names the class, or if you want to change it in"
            " prompts)",
            "the tags {tags} are in nearly all captions; leave out those that belong to what you train, so that the"
            " trigger word takes on their meaning (keep what names the class, and what you want to change in prompts)",
            len(captions.common_tags),
        )
        yield Advice("tip", "W4160", Message(template, tags=", ".join(f"'{tag}'" for tag in captions.common_tags[:10])))


def _advice(
    level: Literal["bad", "warn", "tip"],
    code: str,
    template: Plural,
    files: Sequence[str],
    shown: str = "",
    **values: object,
) -> Advice:
    """Advice about files; its sentence names the first of them."""
    text = Message(template, files=shown or list_names(files), **values)
    return Advice(level, code, text, tuple(files))


def _describe_doubts(count: int) -> dict[str, Plural]:
    """The sentence for each doubt about images, for so many of them."""
    return {
        "W4139": ngettext(
            "a part of the file {files} is empty, as after an interrupted copy; look at the image, and copy it again if"
            " something in it is wrong",
            "parts of {count} files are empty, as after an interrupted copy: {files}; look at these images, and copy"
            " them again if something in them is wrong",
            count,
        ),
        "W4140": ngettext(
            "{files} shows almost nothing that can be trained; leave it out",
            "{count} images show almost nothing that can be trained: {files}; leave them out",
            count,
        ),
        "W4142": ngettext(
            "{files} is very dark, and generated images will be too; brighten it or leave it out",
            "{count} images are very dark, and generated images will be too: {files}; brighten them or leave them out",
            count,
        ),
        "W4143": ngettext(
            "{files} is nearly white; make it darker or leave it out",
            "{count} images are nearly white: {files}; make them darker or leave them out",
            count,
        ),
        "W4144": ngettext(
            "{files} is blurred, and generated images will be too; use a sharper image",
            "{count} images are blurred, and generated images will be too: {files}; use sharper ones",
            count,
        ),
        "W4131": ngettext(
            "{files} is small and is enlarged to {resolution} pixels, which makes it soft; use a larger image, or train"
            " at a lower resolution",
            "{count} images are small and are enlarged to {resolution} pixels, which makes them soft: {files}; use"
            " larger ones, or train at a lower resolution",
            count,
        ),
        "W4145": ngettext(
            "much of {files} is cropped, because its shape is far from every bucket; crop it yourself, so that you"
            " choose what stays",
            "much of {count} images is cropped, because their shapes are far from every bucket: {files}; crop them"
            " yourself, so that you choose what stays",
            count,
        ),
    }
