"""Prompt templates: lines in which [name] is the new word and [filewords] what the picture's own caption says."""

from dataclasses import dataclass
from pathlib import Path

from tetrad.data.caption_files import BadCaption, written
from tetrad.data.captions import PLACE, contains
from tetrad.errors import TetradError

# The same thing in other circumstances, so that what stays the same is the thing and not the circumstances. The first
# is what a picture without words is called where no template is chosen.
SUBJECT = (
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
STYLE = (
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
STYLE_WORDS = (
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
class Template:
    """Lines for pictures that have words of their own, and for those that have none."""

    lines: tuple[str, ...]
    wordless: tuple[str, ...]

    @property
    def reads_words(self) -> bool:
        return any("[filewords]" in line.lower() for line in self.lines)


SETS = {
    "subject": Template(SUBJECT, SUBJECT),
    "style": Template(STYLE, STYLE),
    "subject_filewords": Template(tuple(f"{line}, [filewords]" for line in SUBJECT), SUBJECT),
    "style_filewords": Template(STYLE_WORDS, STYLE),
}


def template(chosen: str) -> Template:
    """A set by its name, the lines of a file, or one line.  E3142 where it is none of these, E3143 for a bad file."""
    if chosen in SETS:
        return SETS[chosen]
    path = Path(chosen).expanduser()
    if path.suffix.lower() == ".txt" or path.is_file():
        lines = read(path)
    elif PLACE.search(chosen) or " " in chosen.strip():
        lines = (chosen,)
    else:
        what = f"there is no template {chosen!r}; sets are {', '.join(SETS)}"
        raise TetradError("E3142", f"{what}, or give a .txt file of lines, or a line like 'a photo of [name]'")
    # A line that waits for words reads oddly without them, so a picture that has none gets the others.
    wordless = tuple(line for line in lines if "[filewords]" not in line.lower())
    return Template(lines, wordless or lines)


def read(path: Path) -> tuple[str, ...]:
    """The lines of a template file; empty ones are left out."""
    if not path.is_file():
        raise TetradError("E3142", f"there is no template file {path}; sets are {', '.join(SETS)}")
    try:
        lines = written(path)[0].splitlines()
    except BadCaption as bad:
        raise TetradError("E3143", f"the template file {path} cannot be used: {bad.reason}; {bad.advice}") from bad
    if not lines:
        raise TetradError("E3143", f"the template file {path} has no line; write one like 'a photo of [name]'")
    return tuple(lines)


def check_named(chosen: str, word: str) -> None:
    """See that each line of a template says the word, for methods that learn nothing else.  E3141 where one does not.

    Not chosen, "", is fine: the word is put in front of captions that lack it.
    """
    if line := nameless(chosen, word):
        raise TetradError("E3141", f"the template line {line!r} has no [name], so the word would learn nothing from it")


def nameless(chosen: str, word: str) -> str:
    """The first line of a template that does not say the word, if one does not."""
    used = template(chosen) if chosen else Template((), ())
    lines = (*used.lines, *used.wordless)
    return next((line for line in lines if "[name]" not in line.lower() and not (word and contains(line, word))), "")
