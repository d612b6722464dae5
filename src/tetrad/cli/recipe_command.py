"""Which command of `tetrad train` a recipe is for: its method says it."""

from pathlib import Path
from typing import Any

from tetrad.cli.commands import format_command
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods import METHODS
from tetrad.settings.toml import build_recipe, read_values

VAE_DECODER = "vae-decoder"


def find_file_option(args: list[str], name: str) -> Path | None:
    """The file of `--recipe FILE` or `--recipe=FILE` (or of another option); None if it is not among the arguments."""
    for argument, following in zip(args, [*args[1:], ""], strict=True):
        option, _equals, file = argument.partition("=")
        if option == name and (file or following):
            return Path(file or following)
    return None


def read_command(recipe: Path) -> str:
    """The command of a recipe; the default method's where it says none.  E3103 for an unknown method."""
    check_is_recipe(recipe)
    values = read_values(recipe)
    return find_command(values) or build_recipe({"method": values.get("method", {})}).method.kind


def check_recipe_command(recipe: Path | None, command: str) -> None:
    """E3104 where the recipe is for another command than the one that was given."""
    if recipe:
        check_is_recipe(recipe)
    found = find_command(read_values(recipe)) if recipe else ""
    if recipe and found and found != command:
        template = _("the recipe {recipe} is for {found}, not for {command}; run it with: {right}")
        right = format_command("train", "--recipe", recipe)
        raise TetradError("E3104", template, recipe=recipe, found=found, command=command, right=right)


def check_is_recipe(path: Path) -> None:
    """E3160 where the file is another trainer's configuration."""
    from tetrad.interchange.read import find_trainer

    if path.is_file() and (trainer := find_trainer(path)):
        template = _("{recipe} is a configuration of {trainer}, not a recipe; run it with: {command}")
        command = format_command("train", "--from", path)
        raise TetradError("E3160", template, recipe=path, trainer=trainer, command=command)


def find_command(values: dict[str, Any]) -> str:
    """The command that these values of a recipe name; "" where they name none."""
    if "images" in values:  # only the recipe of a VAE decoder has this setting outside a section
        return VAE_DECODER
    method = values.get("method", {})
    kind = method.get("kind") if isinstance(method, dict) else None
    return kind if isinstance(kind, str) and kind in METHODS else ""
