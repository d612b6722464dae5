"""The command line: `tetrad`.  Torch is imported only inside the commands that need it."""

import os
import sys
from typing import NoReturn

import typer

from tetrad.cli import advice, demo, generate, grid, inspect, train, vae
from tetrad.errors import TetradError

# Set before any import of the libraries that read them: nothing is fetched, nothing chats on the terminal.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# Threads that wait by spinning make small networks many times slower as soon as another program wants a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    help="Teach Stable Diffusion something new from a folder of pictures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.add_typer(train.app, name="train")
app.command("generate")(generate.generate)
app.command("recommend")(advice.recommend)
app.command("probe")(advice.probe)
app.command("inspect")(inspect.inspect)
app.add_typer(vae.app, name="vae")
app.command("grid")(grid.grid)


def main() -> None:
    """Run a command; what a person can put right ends in one sentence and its exit code, not in a traceback."""
    try:
        sys.exit(app(prog_name="tetrad", standalone_mode=False))
    except TetradError as error:
        refuse(error)
    except typer.TyperException as error:  # typer could not understand the command line
        message = error.format_message()
        if message.startswith("Usage:"):  # no arguments were given, so the help is the answer
            print(message, file=sys.stderr)
            sys.exit(error.exit_code)
        refuse(TetradError("E2001", f"{message.rstrip('.')}; tetrad --help lists what there is"))
    except typer.Abort:
        sys.exit(train.INTERRUPTED)


def refuse(error: TetradError) -> NoReturn:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
