"""`tetrad train`: from a folder of pictures to a file."""

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tetrad.cli import terminal

app = typer.Typer(help="Teach a model something new.", no_args_is_help=True, rich_markup_mode=None)

INTERRUPTED_BUT_SAVED, INTERRUPTED = 75, 130


@app.callback()
def methods() -> None:
    """Teach a model something new."""


@app.command("lora")
def lora(
    images: Annotated[
        str, typer.Argument(help="Folder of pictures, or builtin:subject, builtin:person, builtin:style.")
    ] = "",
    model: Annotated[str | None, typer.Option(help="Checkpoint, diffusers folder, or builtin.")] = None,
    word: Annotated[str | None, typer.Option(help="Trigger word: what the new thing is called.")] = None,
    class_word: Annotated[str | None, typer.Option(help="What kind of thing it is.")] = None,
    out: Annotated[str | None, typer.Option(help="Folder in which the run's folder is made.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run and its file.")] = None,
    steps: Annotated[int | None, typer.Option(help="Updates.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures in a batch.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the U-Net; the text encoder gets half.")] = None,
    rank: Annotated[int | None, typer.Option(help="Size of the low-rank change.")] = None,
    seed: Annotated[int | None, typer.Option(help="All randomness comes from it.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="TOML file with any settings; flags win over it.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting: section.key=value, like save.every=100.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """Teach a LoRA: small, quick, stacks with others. Every setting is in docs/settings.md."""
    flags = {
        "model": model,
        "data.images": images or None,
        "data.word": word,
        "data.class_word": class_word,
        "save.out": out,
        "save.name": name,
        "train.steps": steps,
        "train.batch_size": batch_size,
        "train.learning_rate": learning_rate,
        "train.seed": seed,
        "method.rank": rank,
    }
    from tetrad import recipe as recipes

    values: dict[str, Any] = recipes.read(recipe) if recipe else {}
    recipes.override(values, "method.kind='lora'")
    for key, value in flags.items():
        if value is not None:
            recipes.put(values, key, value)
    for assignment in set_ or []:
        recipes.override(values, assignment)
    run(recipes.built(values), json)


def run(recipe: Any, as_json: bool) -> Any:
    """Run a recipe under the terminal's eyes; exits 75 where it was interrupted and what was learned is saved."""
    from tetrad.run import train

    finished = terminal.watched(train(recipe, stop=StopRequest()), as_json)
    if finished is None:
        sys.exit(INTERRUPTED)
    if not finished.complete:
        sys.exit(INTERRUPTED_BUT_SAVED)
    return finished


class StopRequest:
    """True once Ctrl-C or a kind kill came; a second Ctrl-C leaves at once."""

    def __init__(self) -> None:
        self.asked = False
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signal_number, self.ask)

    def ask(self, signal_number: int, frame: object) -> None:
        if self.asked:
            sys.exit(INTERRUPTED)
        self.asked = True
        print("\nstopping after this step; what was learned will be saved (again to leave at once)", file=sys.stderr)

    def __call__(self) -> bool:
        return self.asked
