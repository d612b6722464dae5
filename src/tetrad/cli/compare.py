"""`tetrad compare`: train the same images with each method, and say which one to use."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tetrad.cli import options, terminal
from tetrad.cli.column_table import print_column_table
from tetrad.cli.runs import StopRequest
from tetrad.contest import make_wish, name_figure
from tetrad.errors import INTERRUPTED_BUT_SAVED
from tetrad.given_paths import BUILTIN_MODEL, check_images_exist, check_model_exists, explain_builtin_model
from tetrad.locales import Message, _
from tetrad.methods import METHODS
from tetrad.paths import expand_path
from tetrad.settings.device import check_device_name

if TYPE_CHECKING:
    from tetrad.contest import Comparison

HELP = _("Train the same images with each method, and say which one to use.")


def compare(
    images: Annotated[
        str, typer.Argument(help=_("Folder of images, or builtin:subject, builtin:person, builtin:style"))
    ],
    goal: Annotated[
        str,
        typer.Option(
            help=_("What the images show: face, person, pet, object or style, or two of them, like 'person*style'"),
            show_default=_("what is known of built-in images"),
        ),
    ] = "",
    model: options.ModelFile = "builtin",
    trigger_word: Annotated[str, typer.Option(help=_("Trigger word"), show_default=_("a rare word"))] = "",
    class_word: Annotated[str, typer.Option(help=_("Class word: what the images show in general, like dog"))] = "",
    methods: Annotated[
        str, typer.Option(metavar="A,B,…", help=_("Methods to compare"), show_default=", ".join(METHODS))
    ] = "",
    budget: Annotated[
        str,
        typer.Option(
            metavar="STEPS|TIME",
            help=_(
                "Length of each training: steps like 400, so that all see the same number of images; or time like 10min"
            ),
            show_default=_("the steps of the recommended method"),
        ),
    ] = "",
    count: Annotated[
        int,
        typer.Option(min=4, max=256, help=_("Images with the trigger word, and as many without, to judge a method by")),
    ] = 16,
    device: options.Device = "auto",
    out: Annotated[Path, typer.Option(help=_("Folder of the comparison; what it holds already is kept"))] = Path(
        "compare"
    ),
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help=_("A setting of every training, like train.seed=1"), metavar="KEY=VALUE"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=_("Print everything as one JSON object"))] = False,
) -> None:
    """Train, judge, and print the figures and the answer.  Started again it goes on with what is missing."""
    check_device_name(device)
    check_images_exist(images)
    check_model_exists(model)
    wish = make_wish(images, goal, model, trigger_word, class_word, methods, budget, device, assignments or ())
    if warning := explain_builtin_model(model, images):
        terminal.print_warning(BUILTIN_MODEL, warning)
    terminal.announce_loading()
    from tetrad.contest import compare_methods

    display, stop = terminal.choose_display(), StopRequest()
    try:
        found = compare_methods(wish, expand_path(out), count, stop, display)
    finally:
        display.close()
    if found is None:
        terminal.print_note(_("stopped; everything is kept, and the same command continues"))
        sys.exit(INTERRUPTED_BUT_SAVED)
    if as_json:
        terminal.print_json(found.as_record())
    else:
        print_comparison(found)


def print_comparison(found: "Comparison") -> None:
    """The figures, the answer with what each method is best for, and where the sheet and the page are."""
    heads = [str(Message(_("base model"))), *(str(result.title) for result in found.results)]
    print_column_table(heads, {name_figure(name): values for name, values in found.make_rows()})
    terminal.print_note(found.describe_budget())
    terminal.print_note(found.describe_judging())
    for result in found.results:
        for strength in found.answer.best_for.get(result.method, ()):
            terminal.print_note(strength)
    terminal.print_text(Message(_("Which method? {answer}"), answer=found.answer.reason))
    terminal.print_note(_("the sheet is {path}"), path=found.sheet)
    terminal.print_text(found.page)
