"""`tetrad train`: from a folder of pictures to a file.  One command a method, of shared flags and a few of its own."""

import inspect
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from tetrad.cli import terminal, vae_decoder

app = typer.Typer(help="Teach a model something new.", no_args_is_help=True, rich_markup_mode=None)

INTERRUPTED_BUT_SAVED, INTERRUPTED = 75, 130


@dataclass(frozen=True)
class Flag:
    """A flag that is short for a setting."""

    name: str
    setting: str
    kind: type
    help: str
    parse: Callable[[Any], Any] = lambda value: value


def number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def numbers(text: str) -> list[float | str]:
    return [number_or_text(item.strip()) for item in text.split(",")]


RATES = 'A number, or rates until steps: "0.05:10, 0.02:20, 0.005".'
SHARED = (
    Flag("--model", "model", str, "Checkpoint, diffusers folder, or builtin."),
    Flag("--word", "data.word", str, "Trigger word: what the new thing is called."),
    Flag("--class-word", "data.class_word", str, "What kind of thing it is."),
    Flag("--template", "data.captions.template", str, "subject, style, a file of lines, or a line with [name]."),
    Flag("--class-images", "data.prior.count", int, "Pictures of the class to learn beside it; drawn where missing."),
    Flag("--prior", "data.prior.images", str, "Folder of the class pictures."),
    Flag("--vae", "vae", str, "VAE for the latents, a file or its name; not given: the checkpoint's own."),
    Flag(
        "--continue", "start", str, "File of something learned, or a run's folder, to go on from; steps are counted on."
    ),
    Flag("--out", "save.out", str, "Folder in which the run's folder is made."),
    Flag("--name", "save.name", str, "Name of the run and its file."),
    Flag("--steps", "train.steps", int, "Updates, counted from the very first."),
    Flag("--batch-size", "train.batch_size", int, "Pictures in a batch."),
    Flag("--learning-rate", "train.learning_rate", str, RATES, number_or_text),
    Flag("--seed", "train.seed", int, "All randomness comes from it."),
)


@dataclass(frozen=True)
class Command:
    """A method as the command line tells it, without importing it; a test compares with METHODS."""

    kind: str
    help: str
    flags: tuple[Flag, ...]


COMMANDS = (
    Command(
        "textual-inversion",
        "Teach a new word: the smallest file, for styles and persons.",
        (
            Flag("--vectors", "method.vectors", int, "Vectors of the word; 0: by the number of pictures."),
            Flag("--initial-text", "method.initial_text", str, "What the word means to begin with, like dog."),
        ),
    ),
    Command(
        "hypernetwork",
        "Teach small networks before attention: for styles.",
        (
            Flag("--structure", "method.structure", str, "Widths of the layers, like 1,2,1.", numbers),
            Flag("--activation", "method.activation", str, "Between the layers: linear, swish, relu, …"),
        ),
    ),
    Command(
        "lora",
        "Teach a LoRA: small, quick, stacks with others.",
        (
            Flag("--rank", "method.rank", int, "Size of the low-rank change."),
            Flag("--alpha", "method.alpha", float, "The change counts alpha / rank; not given: the rank."),
        ),
    ),
    Command(
        "dreambooth",
        "Teach the model itself: the most faithful, and a whole checkpoint of its own.",
        (
            Flag("--subject", "method.subject", str, "object (animals and styles too) or face."),
            Flag("--steps-per-image", "method.steps_per_image", int, "Steps for each picture instead; 100 is usual."),
        ),
    ),
)


@app.callback()
def methods() -> None:
    """Teach a model something new."""


def command(told: Command) -> Callable[..., None]:
    """The function that typer makes a command of: `images`, then every flag of the method."""
    flags = {flag.setting.replace(".", "_"): flag for flag in (*SHARED, *told.flags)}

    def train(
        images: str, recipe: Path | None, assignments: list[str] | None, as_json: bool, **given: str | float | None
    ) -> None:
        from tetrad import recipe as recipes

        values: dict[str, Any] = recipes.read(recipe) if recipe else {}
        recipes.override(values, f"method.kind={told.kind!r}")
        if images:
            recipes.put(values, "data.images", images)
        for name, value in given.items():
            if value is not None:
                recipes.put(values, flags[name].setting, flags[name].parse(value))
        for assignment in assignments or []:
            recipes.override(values, assignment)
        run(recipes.built(values), as_json)

    images = "Folder of pictures, or builtin:subject, builtin:person, builtin:style."
    recipe = typer.Option("--recipe", help="TOML file with any settings; flags win over it.")
    assignments = typer.Option("--set", help="Any setting: section.key=value, like save.every=100.")
    as_json = typer.Option("--json", help="One JSON object a line, for programs.")
    parameters = [
        parameter("images", Annotated[str, typer.Argument(help=images)], ""),
        *(
            parameter(name, Annotated[flag.kind | None, typer.Option(flag.name, help=flag.help)], None)
            for name, flag in flags.items()
        ),
        parameter("recipe", Annotated[Path | None, recipe], None),
        parameter("assignments", Annotated[list[str] | None, assignments], None),
        parameter("as_json", Annotated[bool, as_json], False),
    ]
    train.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    train.__annotations__ = {}
    return train


def parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)


for each in COMMANDS:
    app.command(each.kind, help=f"{each.help} Every setting is in docs/settings.md.")(command(each))
app.command("vae-decoder")(vae_decoder.vae_decoder)


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
