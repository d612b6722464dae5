"""`tetrad merge embedding`: several embeddings as one."""

from pathlib import Path
from typing import Annotated

import typer

from tetrad.cli.terminal import announce_loading, print_note, print_text
from tetrad.cli.weighted_files import parse_weighted_files
from tetrad.locales import _

HELP = _("Put the vectors of embeddings one after another, or average them, into one embedding.")


def merge_embedding(
    files: Annotated[list[str], typer.Argument(help=_("Embeddings; for --average with weights, like cat.pt:0.7"))],
    out: Annotated[
        Path, typer.Option(help=_(".safetensors, .pt or .png file to write; an existing file is not overwritten"))
    ],
    average: Annotated[
        bool, typer.Option("--average", help=_("Weighted average of the vectors instead of one after another"))
    ] = False,
) -> None:
    weighted_files = parse_weighted_files(files)
    announce_loading()
    from tetrad.merging.embeddings import merge_embeddings

    merged = merge_embeddings(weighted_files, out, average)
    for note in merged.notes:
        print_note(note)
    print_text(merged.path)
