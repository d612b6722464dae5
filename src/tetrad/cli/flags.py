"""Makes command-line flags from the settings."""

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer

from tetrad.methods import folder_flags
from tetrad.settings.field import Setting


def flag_parameters(settings: Iterable[Setting]) -> list[inspect.Parameter]:
    """A parameter of a command for each setting that has a flag; its name is the setting's key with underscores."""
    return [
        make_parameter(
            setting.key.replace(".", "_"),
            Annotated[flag_type(setting.type) | None, typer.Option(*setting.flags, help=setting.help)],
            None,
        )
        for setting in settings
        if setting.flags
    ]


def make_parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)


def flag_type(hint: Any) -> type:
    """The type that typer parses a flag as: int, float or bool where the setting is one, else str."""
    types = (
        {each for each in get_args(hint) if each is not NoneType} if get_origin(hint) in (Union, UnionType) else {hint}
    )
    return next((number_type for number_type in (int, float, bool) if types == {number_type}), str)


def build_command(function: Callable[..., None], parameters: list[inspect.Parameter]) -> Callable[..., None]:
    """The function, with these parameters as its signature for typer."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {}
    return function


def with_folder_flags(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose `**folder_dirs` become one flag for each type of trained file: `--lora-dir` and so on."""
    own = [each for name, each in inspect.signature(function).parameters.items() if name != "folder_dirs"]
    folder_parameters = [
        make_parameter(
            name,
            Annotated[Path | None, typer.Option(artifact.folder_flag, help=artifact.folder_help, show_default="runs")],
            None,
        )
        for name, artifact in folder_flags().items()
    ]
    position = next((n for n, each in enumerate(own) if each.name == "models_dir"), len(own) - 1) + 1
    return build_command(function, [*own[:position], *folder_parameters, *own[position:]])
