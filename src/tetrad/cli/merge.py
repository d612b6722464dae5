"""`tetrad merge`: combine checkpoints, or what was trained, into one file.  Each command has a module of its own."""

import typer

from tetrad.cli import merge_checkpoint
from tetrad.locales import _

app = typer.Typer(
    help=_("Combine checkpoints, LoRAs, embeddings or hypernetworks into one file."),
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("checkpoint", help=merge_checkpoint.HELP)(merge_checkpoint.merge_checkpoint)


@app.callback()
def callback() -> None: ...
