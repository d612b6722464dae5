"""`tetrad inspect`: say what a file is, without using it."""

from typing import Annotated

import typer

from tetrad.builtin import BUILTIN_NAME, MODEL_CARD_PATH, list_known_words, resolve_model_path
from tetrad.cli.terminal import announce_late_loading, print_json, print_note, print_text
from tetrad.errors import TetradError
from tetrad.given_paths import missing_file_error
from tetrad.inspection import FileLabel, format_value
from tetrad.locales import Message, _, in_english, pad, translate, wrap

HELP = _("Show what a file is: type, family, rank, hashes, training.")
WORDS_LINE_WIDTH = 98  # columns
NO_BREAK_SPACE = "\u00a0"
WORD_GROUPS = {
    "subjects": _("{count} subjects:"),
    "other words": _("{count} other words for them, such as kitten for cat:"),
    "styles": _("{count} styles, as in 'a cat, gold style':"),
    "backgrounds": _("{count} backgrounds, as in 'a cat, on a blue background':"),
    "further subjects": _("{count} further subjects, by the names of their icons:"),
}


def inspect(
    name: Annotated[
        str, typer.Argument(metavar="FILE", help=_("Weight file, image, run folder, diffusers folder, or builtin"))
    ],
    as_json: Annotated[bool, typer.Option("--json", help=_("Print everything as one JSON object"))] = False,
    words: Annotated[bool, typer.Option("--words", help=_("List the words that the built-in model knows"))] = False,
) -> None:
    """Say what a file is: type, family, rank or vectors, precision, hashes, how it was trained, what is wrong."""
    if words:
        print_known_words(name, as_json)
        return
    if not (path := resolve_model_path(name)).exists():
        raise missing_file_error(path)
    announce_late_loading()
    from tetrad.inspection.inspect import inspect_path

    inspection = inspect_path(name)
    if as_json:
        print_json(in_english(vars(inspection)))
        return
    print_text(Message(_("{path}: {type}"), path=inspection.path, type=inspection.what))
    for label, value in inspection.facts.items():
        print_fact(label, format_value(label, value))
    if inspection.metadata:
        print_fact(_("metadata"), format_value("", sorted(inspection.metadata)))
    if name == BUILTIN_NAME:
        for line in ("", *MODEL_CARD_PATH.read_text("utf-8").strip().splitlines()):
            print_text(line)
    for problem in inspection.trouble:
        print_note(_("problem: {problem}"), problem=problem)


def print_known_words(name: str, as_json: bool) -> None:
    """The words of the built-in model's captions.  E2001 for any other model, whose words no file lists."""
    if name != BUILTIN_NAME:
        template = _("--words lists the words of the built-in model only, not of {name}; use tetrad inspect {builtin}")
        raise TetradError("E2001", template, name=name, builtin=f"{BUILTIN_NAME} --words")
    known_words = list_known_words()
    if as_json:
        print_json(known_words)
        return
    for group, title in WORD_GROUPS.items():
        print_text(Message(title, count=f"{len(known_words[group]):,}"))
        # Lines break between names, not inside them.
        names = ", ".join(name.replace(" ", NO_BREAK_SPACE) for name in known_words[group])
        for line in wrap(names, WORDS_LINE_WIDTH):
            print_text(f"  {line.replace(NO_BREAK_SPACE, ' ')}")


def print_fact(label: str, value: str) -> None:
    """One fact; only our own labels are translated, and no value, since ours are messages."""
    shown_label = label if isinstance(label, FileLabel) else translate(label)
    print_text(f"  {pad(shown_label, 25)}{value}")
