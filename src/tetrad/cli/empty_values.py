"""Refuse an empty name of a file, as an unset variable of the shell gives; it would mean this folder or the default."""

from functools import partial
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.locales import _

# Parameters that are text, because they may be a name as well as a path.
_NAMED_FILES = frozenset(
    {
        "a",
        "b",
        "base",
        "continue_from",
        "data_class_images_images",
        "files",
        "lora",
        "loras",
        "model",
        "models",
        "models_dir",
        "name",
        "run",
        "save_out",
        "source",
        "vae",
        "vae_dir",
    }
)


def refuse_empty_values(command: Any) -> None:
    """Let a command, and the commands in it, end with E2001 for an empty name of a file or folder."""
    for parameter in command.params:
        if parameter.name in _NAMED_FILES or parameter.type_descriptor.annotation in (Path, list[Path]):
            parameter.process_value = partial(_process_value, parameter, parameter.process_value)
    for subcommand in getattr(command, "commands", {}).values():
        refuse_empty_values(subcommand)


def _process_value(parameter: Any, process: Any, context: Any, value: Any) -> Any:
    """The value as typer reads it, with a look at the text before: an empty path is `.` afterwards.

    A default may be empty.
    """
    if not is_default(context, parameter.name):
        check_not_empty(parameter, value)
    return process(context, value)


def is_default(context: Any, name: str) -> bool:
    """Whether a parameter was not given on the command line."""
    source = context.get_parameter_source(name)
    return source is None or source.name.startswith("DEFAULT")


def check_not_empty(parameter: Any, value: Any) -> None:
    """E2001 where a text of the value is empty."""
    texts = value if isinstance(value, list | tuple) else (value,)
    if any(isinstance(text, str) and not text.strip() for text in texts):
        name = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.name.upper()
        template = _("{name} is empty; name a file or folder, or leave it out (is a variable of the shell not set?)")
        raise TetradError("E2001", template, name=name)
