"""The words and errors of typer (and of the click inside it), each with a template that can be translated."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import typer

from tetrad.errors import TetradError
from tetrad.locales import Message, _

USAGE = _("Usage: ")

# typer's English → our template.  Placeholders and type names, [OPTIONS] and <int>, stay as they are.
HELP_WORDS = {
    "Usage: ": USAGE,
    "Arguments": _("Arguments"),
    "Options": _("Options"),
    "Commands": _("Commands"),
    "Show this message and exit.": _("Show this message and exit"),
    "default: ({value})": _("default: {value}"),
    "default: {value}": _("default: {value}"),
    "required": _("required"),
}

# The more particular sentence comes first: each placeholder matches any text.
ERRORS = {
    "Missing command": _("no command is given"),
    "No such command {command}. Did you mean {suggestions}?": _("there is no command {command} (try {suggestions})"),
    "No such command {command}": _("there is no command {command}"),
    "No such option: {option} (Possible options: {suggestions})": _("there is no option {option} (try {suggestions})"),
    "No such option: {option}": _("there is no option {option}"),
    "Missing option {option}": _("the option {option} is required"),
    "Missing argument {argument}": _("the argument {argument} is required"),
    "Option {option} requires an argument": _("the option {option} needs a value"),
    "Option {option} does not take a value": _("the option {option} takes no value"),
    "Got unexpected extra argument(s) ({arguments})": _("unexpected arguments: {arguments}"),
    "Invalid value for {option}: {reason}": _("invalid value for {option}: {reason}"),
    "Input should be a valid integer{detail}": _("it must be a whole number"),
    "Input should be a valid number{detail}": _("it must be a number"),
    "Input should be greater than or equal to {lowest}": _("it must be at least {lowest}"),
    "Input should be less than or equal to {highest}": _("it must be at most {highest}"),
}


def explain_usage_error(error: typer.TyperException, program: Any, arguments: Sequence[str]) -> TetradError:
    """E2001 for a command line that typer cannot parse; it names the help of the command that was given."""
    context = getattr(error, "ctx", None)
    return TetradError(
        "E2001",
        _("{problem}; see '{command} --help'"),
        problem=explain_training_error(error) or parse_error(error.format_message()),
        command=context.command_path if context else find_command_path(program, arguments),
    )


def find_command_path(command: Any, arguments: Sequence[str]) -> str:
    """`tetrad train lora`: the command that the arguments name.  Some errors of typer do not know it."""
    path = ["tetrad"]
    for argument in arguments:
        command = getattr(command, "commands", {}).get(argument)
        if command is None:
            break
        path.append(argument)
    return " ".join(path)


def explain_training_error(error: typer.TyperException) -> Message | None:
    """The flag here, where a command that trains is given another trainer's option, or that of another method."""
    command, option = getattr(getattr(error, "ctx", None), "info_name", ""), getattr(error, "option_name", "")
    if not option:
        return None
    from tetrad.cli.recipe_command import VAE_DECODER
    from tetrad.methods import METHODS
    from tetrad.settings.other_names import find_meant_setting
    from tetrad.settings.recipe import Recipe
    from tetrad.settings.vae_decoder import DecoderRecipe

    recipes: dict[str, type] = {**dict.fromkeys(METHODS, Recipe), VAE_DECODER: DecoderRecipe}
    if command not in recipes:
        return None
    meant = find_meant_setting(option, recipes[command], command if command in METHODS else "")
    if meant is None:
        return None
    if meant.methods and command not in meant.methods:
        commands = ", ".join(f"tetrad train {method}" for method in meant.methods)
        template = _("there is no option {option} here; {flag} is an option of {commands}")
        return Message(template, option=option, flag=meant.option, commands=commands)
    return Message(_("there is no option {option}; that is {flag} here"), option=option, flag=meant.option)


def parse_error(text: str) -> Message:
    """The message for an error of typer, or for the reason inside one."""
    return parse_message(text.rstrip("."), ERRORS) or Message(_("{error}"), error=text)


def translate_help_word(text: str) -> str:
    """A word of typer's help in the reader's language."""
    return str(parse_message(text, HELP_WORDS) or text)


def parse_message(text: str, templates: Mapping[str, str]) -> Message | None:
    """Our message for a text that typer has made from one of its own templates; None for any other text."""
    for english, template in templates.items():
        if match := as_pattern(english).fullmatch(text):
            values = match.groupdict()
            return Message(
                template, **values | {"reason": parse_error(values["reason"])} if "reason" in values else values
            )
    return None


@cache
def as_pattern(template: str) -> re.Pattern[str]:
    """A template as a regular expression with a group for each placeholder."""
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.*)", re.escape(template)), re.DOTALL)
