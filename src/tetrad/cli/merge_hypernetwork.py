"""`tetrad merge hypernetwork`: several linear hypernetworks as one."""

from pathlib import Path
from typing import Annotated

import typer

from tetrad.cli.terminal import announce_loading, print_note, print_text
from tetrad.cli.weighted_files import parse_weighted_files
from tetrad.locales import _

HELP = _("Make one hypernetwork that does what several linear ones do one after another.")


def merge_hypernetwork(
    files: Annotated[
        list[str], typer.Argument(help=_("Hypernetworks in the order of the prompt, with strengths like style.pt:0.7"))
    ],
    out: Annotated[Path, typer.Option(help=_(".pt file to write; an existing file is not overwritten"))],
) -> None:
    weighted_files = parse_weighted_files(files)
    announce_loading()
    from tetrad.merging.hypernetworks import merge_hypernetworks

    merged = merge_hypernetworks(weighted_files, out)
    for note in merged.notes:
        print_note(note)
    print_text(merged.path)
