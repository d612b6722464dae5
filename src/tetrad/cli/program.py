"""The commands, and in which module each is: only the module of the command that is run is imported."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated

import typer

from tetrad.cli.help import MainGroup, print_version
from tetrad.locales import _


@dataclass(frozen=True)
class _Place:
    """Where a command and its help text are; a group of commands is the variable `app`, and has its own help."""

    module: str
    variable: str
    help_variable: str = "HELP"


COMMANDS = {
    "demo": _Place("demo", "demo"),
    "train": _Place("train", "app"),
    "plan": _Place("plan", "app"),
    "encode": _Place("encode", "app"),
    "resume": _Place("resume", "resume"),
    "import": _Place("import_settings", "import_settings"),
    "export": _Place("export_settings", "export_settings"),
    "runs": _Place("run_folders", "app"),
    "scan": _Place("scan", "scan"),
    "captions": _Place("captions", "app"),
    "doctor": _Place("doctor", "doctor"),
    "judge": _Place("judge", "judge"),
    "report": _Place("report", "report"),
    "sweep": _Place("sweep", "sweep"),
    "track": _Place("track", "track"),
    "compare": _Place("compare", "compare"),
    "generate": _Place("generate", "generate"),
    "recommend": _Place("recommend", "recommend", "RECOMMEND_HELP"),
    "probe": _Place("recommend", "probe", "PROBE_HELP"),
    "inspect": _Place("inspect", "inspect"),
    "verify": _Place("verify", "verify"),
    "diff": _Place("diff", "diff"),
    "install": _Place("install", "install"),
    "uninstall": _Place("install", "uninstall", "UNINSTALL_HELP"),
    "vae": _Place("vae", "app"),
    "merge": _Place("merge", "app"),
    "convert": _Place("convert", "convert"),
    "extract": _Place("extract", "app"),
    "resize": _Place("resize", "resize"),
    "grid": _Place("grid", "grid"),
    "web": _Place("web", "web"),
}


def build_program(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """`tetrad` with these commands."""
    program = typer.Typer(
        cls=MainGroup,
        help=_("Train Stable Diffusion on your images with LoRA, DreamBooth, hypernetworks or Textual Inversion."),
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    program.callback()(_take_options)
    for name in names:
        place = COMMANDS[name]
        module = import_module(f"tetrad.cli.{place.module}")
        command = getattr(module, place.variable)
        if isinstance(command, typer.Typer):
            program.add_typer(command, name=name)
        else:
            _add_command(program, name, command, getattr(module, place.help_variable))
    return program


def _add_command(program: typer.Typer, name: str, command: Callable[..., None], help: str) -> None:
    program.command(name, help=help)(command)


def choose_commands(arguments: Sequence[str]) -> Iterable[str]:
    """The command that is run; all of them where the arguments begin with none, for the help and for errors."""
    if arguments[:1] == ["--version"]:
        return ()
    return [name for name in COMMANDS if name in arguments[:1]] or COMMANDS


def _take_options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help=_("Show the version and exit"))
    ] = False,
) -> None: ...
