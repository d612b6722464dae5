"""Caption templates: [name] stands for the trigger word, [filewords] for the image's own caption."""

from dataclasses import dataclass
from pathlib import Path

from tetrad.data.captions.caption_files import BadCaption, read_caption_file
from tetrad.data.captions.captions import contains_word, find_unknown_placeholders, has_filewords, has_name
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.paths import expand_path

# The lines vary everything but the subject, so that the trigger word means the subject and nothing else. The first line
# is the caption of an image that has none, if no template is set.
SUBJECT_TEMPLATES = (
    "a photo of [name]",
    "a good photo of [name]",
    "a dark photo of [name]",
    "a bright photo of [name]",
    "a snapshot of [name]",
    "a close-up of [name]",
    "a photo of [name] from a distance",
    "a photo of [name] in daylight",
    "a photo of [name] indoors",
    "a photo of [name] outdoors",
    "a cropped picture of [name]",
    "a blurry picture of [name]",
    "a clear picture of [name]",
    "one picture of [name]",
    "an amateur photo of [name]",
    "a studio photo of [name]",
    "a detailed image of [name]",
    "a plain image of [name]",
    "a picture that shows [name]",
    "here is [name]",
)
_STYLE_TEMPLATES = (
    "a picture in the style of [name]",
    "a painting in the style of [name]",
    "a drawing in the style of [name]",
    "an illustration in the style of [name]",
    "an artwork by [name]",
    "a small artwork by [name]",
    "a large artwork by [name]",
    "a dark picture by [name]",
    "a bright picture by [name]",
    "a detailed picture by [name]",
    "a simple picture by [name]",
    "a cropped picture by [name]",
    "a close-up, in the style of [name]",
    "a scene as [name] would make it",
    "a work of [name]",
    "art in the manner of [name]",
)
_STYLE_CAPTION_TEMPLATES = (
    "a picture of [filewords], in the style of [name]",
    "a painting of [filewords], in the style of [name]",
    "a drawing of [filewords], in the style of [name]",
    "an illustration of [filewords], in the style of [name]",
    "an artwork of [filewords] by [name]",
    "a dark picture of [filewords] by [name]",
    "a bright picture of [filewords] by [name]",
    "a detailed picture of [filewords] by [name]",
    "a simple picture of [filewords] by [name]",
    "a close-up of [filewords], in the style of [name]",
    "[filewords] as [name] would make it",
    "[filewords], art by [name]",
    "[filewords], in the manner of [name]",
)


@dataclass(frozen=True)
class CaptionTemplate:
    """Lines for images that have a caption of their own, and for images that have none."""

    lines: tuple[str, ...]
    lines_without_caption: tuple[str, ...]

    @property
    def uses_caption(self) -> bool:
        return any(map(has_filewords, self.lines))


TEMPLATE_SETS = {
    "subject": CaptionTemplate(SUBJECT_TEMPLATES, SUBJECT_TEMPLATES),
    "style": CaptionTemplate(_STYLE_TEMPLATES, _STYLE_TEMPLATES),
    "subject_filewords": CaptionTemplate(
        tuple(f"{line}, [filewords]" for line in SUBJECT_TEMPLATES), SUBJECT_TEMPLATES
    ),
    "style_filewords": CaptionTemplate(_STYLE_CAPTION_TEMPLATES, _STYLE_TEMPLATES),
}


def load_template(source: str) -> CaptionTemplate:
    """A built-in set by its name, the lines of a file, or one line.  E3142 if it is none, E3143 for a bad file."""
    if source in TEMPLATE_SETS:
        return TEMPLATE_SETS[source]
    if path := _find_template_file(source):
        lines = _read_template_file(path)
    elif has_name(source) or has_filewords(source) or " " in source.strip():
        lines = (source,)
    else:
        raise TetradError(
            "E3142",
            _(
                "there is no template '{name}'; use one of {sets}, a .txt file of lines, or a line like 'a photo of"
                " [name]'"
            ),
            name=source,
            sets=", ".join(TEMPLATE_SETS),
        )
    # A line with [filewords] reads oddly without a caption, so images without one use the other lines.
    lines_without_caption = tuple(line for line in lines if not has_filewords(line))
    return CaptionTemplate(lines, lines_without_caption or lines)


def _find_template_file(source: str) -> Path | None:
    """The file that the source names: one that exists, or ends in .txt; None for a line."""
    is_text_file = source.lower().endswith(".txt")
    try:
        path = expand_path(source)
    except TetradError:  # a line may begin with ~, or be longer than the name of a file
        if is_text_file:
            raise
        return None
    return path if is_text_file or path.is_file() else None


def _read_template_file(path: Path) -> tuple[str, ...]:
    """The lines of a template file without the empty ones."""
    if not path.is_file():
        raise TetradError(
            "E3142",
            _("there is no template file {path}; built-in templates are {sets}"),
            path=path,
            sets=", ".join(TEMPLATE_SETS),
        )
    try:
        lines = read_caption_file(path)[0].splitlines()
    except BadCaption as error:
        raise TetradError(
            "E3143", _("the template file {path} cannot be used: {reason}"), path=path, reason=error.error_message
        ) from error
    if not lines:
        raise TetradError(
            "E3143", _("the template file {path} has no lines; write one like 'a photo of [name]'"), path=path
        )
    return tuple(lines)


def check_template_has_name(source: str, trigger_word: str) -> None:
    """Check that each line of a template has the trigger word, for methods that train nothing else.  E3141 if not.

    "" passes: without a template the trigger word is added to captions that lack it.
    """
    if line := find_line_without_name(source, trigger_word):
        raise TetradError(
            "E3141",
            _(
                "the template line '{line}' has no [name], so captions made from it would not train the trigger word;"
                " add [name] to it"
            ),
            line=line,
        )


def find_unknown_text(source: str) -> dict[str, str]:
    """What stands in square brackets in a template and is no placeholder, each with the first line that has it."""
    lines = load_template(source).lines if source else ()
    found: dict[str, str] = {}
    for line in lines:
        for text in find_unknown_placeholders(line):
            found.setdefault(text, line)
    return found


def find_line_without_name(source: str, trigger_word: str) -> str:
    """The first line of a template without the trigger word; "" if every line has it."""
    template = load_template(source) if source else CaptionTemplate((), ())
    lines = (*template.lines, *template.lines_without_caption)
    return next(
        (line for line in lines if not has_name(line) and not (trigger_word and contains_word(line, trigger_word))),
        "",
    )
