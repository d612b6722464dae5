"""`tetrad export`: a run's settings as a configuration of another trainer."""

from pathlib import Path
from typing import Annotated

import typer

from tetrad.cli.import_settings import check_new_file
from tetrad.cli.terminal import print_note, print_text, print_warning
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import write_atomically
from tetrad.locales import _
from tetrad.paths import expand_path

HELP = _("Write a run's settings as a configuration of kohya's sd-scripts.")
_NOT_EXPORTED = "W3162"


def export_settings(
    run: Annotated[Path, typer.Argument(help=_("Folder of the run"), show_default=False)],
    to: Annotated[str, typer.Option("--to", metavar="TRAINER", help=_("Trainer to write for: kohya"))] = "kohya",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help=_("Write the configuration into this file"))
    ] = None,
) -> None:
    """Print the configuration, or write it; what it cannot say is printed on stderr."""
    if to != "kohya":
        raise TetradError("E2001", _("--to must be kohya; it is {value}"), value=repr(to))
    from tetrad.interchange.to_kohya import export_run

    export = export_run(expand_path(run))
    for message in export.undone:
        print_warning(_NOT_EXPORTED, message)
    if out is None:
        for line in export.text.splitlines():
            print_text(line)
    else:
        check_new_file(expand_path(out))
        write_atomically(expand_path(out), export.text.encode())
    template = _("the configuration is for sd-scripts' {script}: accelerate launch {script} --config_file {file}")
    print_note(template, script=export.script, file=out or "FILE.toml")
