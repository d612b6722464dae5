"""`tetrad import`: another trainer's configuration as a recipe, with what becomes of each of its keys."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tetrad.cli.commands import format_command
from tetrad.cli.terminal import print_json, print_note, print_text, print_warning
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import write_atomically
from tetrad.locales import _, wrap
from tetrad.methods import METHODS
from tetrad.paths import expand_path

if TYPE_CHECKING:
    from tetrad.interchange.job import Job

HELP = _(
    "Show what becomes of each key of a configuration of kohya, OneTrainer or ai-toolkit; `--out` writes a recipe."
)
METHOD_HELP = _("What the file trains, where it does not say it: lora, textual-inversion or dreambooth")
NOTE = "W3161"


def import_settings(
    file: Annotated[
        Path,
        typer.Argument(
            help=_(
                "Configuration of sd-scripts (TOML, or a command line), kohya_ss, lora-scripts,"
                " OneTrainer or ai-toolkit"
            )
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help=_("Write the recipe into this file, like recipe.toml"))
    ] = None,
    method: Annotated[str, typer.Option("--as", metavar="METHOD", help=METHOD_HELP)] = "",
    strict: Annotated[bool, typer.Option("--strict", help=_("Fail where the file asks for what is not done"))] = False,
    as_json: Annotated[bool, typer.Option("--json", help=_("Print everything as one JSON object"))] = False,
) -> None:
    """Show what becomes of each key; nothing is trained, and with an error nothing is written."""
    check_method_name(method)
    from tetrad.interchange.read import check, make_recipe, read_configuration
    from tetrad.interchange.report import as_records

    job = read_configuration(expand_path(file), method)
    if as_json:
        print_json(as_records(job))
    else:
        print_report(job)
    print_notes(job)
    check(job, strict)
    make_recipe(job)
    if out:
        write_recipe(job, expand_path(out))
        print_note(
            _("the recipe is in {path}; run it with: {command}"),
            path=out,
            command=format_command("train", "--recipe", out),
        )
    elif not as_json:
        print_note(_("run it with: {command}"), command=format_command("train", "--from", file))


def check_method_name(method: str) -> None:
    """E2001 where --as names no method."""
    if method and method not in METHODS:
        template = _("--as must be one of {methods}; it is {value}")
        raise TetradError("E2001", template, methods=", ".join(METHODS), value=repr(method))


def print_report(job: "Job") -> None:
    """The keys by outcome, first those that are not done; in a terminal, lines that go on are indented."""
    from tetrad.interchange.report import list_groups, summarize

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    print_text(summarize(job))
    for title, messages in list_groups(job):
        print_text("")
        print_text(title)
        for message in messages:
            first, *others = wrap(str(message), width - 4)
            print_text(f"  {first}")
            for line in others:
                print_text(f"    {line}")


def print_notes(job: "Job") -> None:
    """What is to be said about the file, and which of its files are not there."""
    from tetrad.interchange.read import missing_files_error
    from tetrad.interchange.report import list_notes

    for note in list_notes(job):
        print_warning(NOTE, note)
    if error := missing_files_error(job):
        print_warning(NOTE, error.sentence)


def write_recipe(job: "Job", path: Path) -> None:
    """Write the recipe's values; errors as `check_new_file`."""
    from tetrad.interchange.read import dump

    check_new_file(path)
    write_atomically(path, dump(job).encode())


def check_new_file(path: Path) -> None:
    """E4202 where there is a file already, or no folder."""
    if path.exists():
        template = _("{path} already exists; give another file with --out")
        raise TetradError("E4202", template, path=path)
    if not path.parent.is_dir():
        template = _("{path} cannot be written: there is no folder {folder}; create it, or change --out")
        raise TetradError("E4202", template, path=path, folder=path.parent)
