"""`tetrad merge`: combine checkpoints, or what was trained, into one file.  Each command has a module of its own."""

import typer

from tetrad.cli import merge_checkpoint, merge_embedding, merge_hypernetwork, merge_lora
from tetrad.locales import _

app = typer.Typer(
    help=_("Combine checkpoints, LoRAs, embeddings or hypernetworks into one file."),
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("checkpoint", help=merge_checkpoint.HELP)(merge_checkpoint.merge_checkpoint)
app.command("embedding", help=merge_embedding.HELP)(merge_embedding.merge_embedding)
app.command("hypernetwork", help=merge_hypernetwork.HELP)(merge_hypernetwork.merge_hypernetwork)
app.command("lora", help=merge_lora.HELP)(merge_lora.merge_lora)


@app.callback()
def callback() -> None: ...
