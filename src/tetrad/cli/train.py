"""`tetrad train`: train from a folder of images.  One command for each method; its flags come from the settings."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tetrad.cli import vae_decoder
from tetrad.cli.flags import build_command, flag_parameters, make_parameter
from tetrad.cli.recipe_command import VAE_DECODER, check_recipe_command, find_file_option, read_command
from tetrad.cli.runs import AsJson, Assignments, RecipeFile, StopRequest, collect_values, follow
from tetrad.cli.source import SourceFile, check_files, read_method, read_source, without_length
from tetrad.cli.terminal import announce_loading
from tetrad.errors import TetradError
from tetrad.given_paths import check_images_exist, check_model_exists, check_trained_file_exists
from tetrad.locales import _
from tetrad.methods import METHODS
from tetrad.settings.field import settings_of
from tetrad.settings.recipe import Recipe
from tetrad.settings.toml import build_recipe
from tetrad.settings.values import quote

IMAGES_HELP = _(
    "Folder of images, or several of them, shards such as 'shards/*.tar', or builtin:subject, builtin:person,"
    " builtin:style"
)
HELP = _(
    "Train a model on your images; `tetrad train --recipe FILE` takes the method from the recipe, and `--from FILE`"
    " from another trainer's configuration."
)


class TrainGroup(TyperGroup):
    """The commands of `tetrad train`.  Without one, the file of `--recipe` or `--from` says which one it is."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands:
            if recipe := find_file_option(args, "--recipe"):
                args = [read_command(recipe), *args]
            elif source := find_file_option(args, "--from"):
                args = [read_method(source), *args]
        return super().parse_args(ctx, args)


app = typer.Typer(help=HELP, cls=TrainGroup, no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def callback() -> None:
    pass


def method_command(
    kind: str, run: Callable[..., Any], own_options: Mapping[str, Any] = MappingProxyType({})
) -> Callable[..., None]:
    """The command of a method: `images`, every flag of the recipe and of the method, --recipe, --set, --json.

    `run` gets the recipe, whether to print JSON, and the command's own options, which are off by default.
    """
    settings = [*settings_of(Recipe), *settings_of(METHODS[kind], "method.")]
    flags = {setting.key.replace(".", "_"): setting for setting in settings if setting.flags}

    def train(
        images: list[str] | None,
        recipe: Path | None,
        source: Path | None,
        assignments: list[str] | None,
        as_json: bool,
        **given: Any,
    ) -> None:
        own = {name: given.pop(name) for name in own_options}
        check_recipe_command(recipe, kind)
        job = read_source(source, recipe, kind) if source else None
        arguments = {"method.kind": kind, **as_settings(images or [])}
        imported = without_length(job, given, assignments) if job else {}
        values = collect_values(recipe, flags, given, assignments, arguments, imported)
        check_method(values, kind)
        if job:
            check_files(job, values)
        run(build_recipe(values), as_json, **own)

    return build_command(
        train,
        [
            make_parameter("images", Annotated[list[str] | None, typer.Argument(help=IMAGES_HELP)], None),
            *flag_parameters(settings),
            make_parameter("recipe", RecipeFile, None),
            make_parameter("source", SourceFile, None),
            make_parameter("assignments", Assignments, None),
            *(make_parameter(name, annotation, False) for name, annotation in own_options.items()),
            make_parameter("as_json", AsJson, False),
        ],
    )


def as_settings(images: Sequence[str]) -> dict[str, Any]:
    """The settings of the folders of a command line, which replace all those of a recipe."""
    if not images:
        return {}
    return {"data.images": images[0], "data.folders": [{"images": each} for each in images[1:]]}


def check_method(values: dict[str, Any], kind: str) -> None:
    """E2001 where --set names another method than the command; a method that --set leaves out is the command's."""
    method = values["method"]
    if isinstance(method, dict) and method.setdefault("kind", kind) != kind:
        template = _(
            "--set cannot change the method: method.kind is {value}, but the command is 'tetrad train {method}'; use"
            " the command of the method you want: tetrad train {methods}"
        )
        methods = " | ".join(METHODS)
        raise TetradError("E2001", template, value=quote(method["kind"]), method=kind, methods=methods)


def run_recipe(recipe: Recipe, as_json: bool) -> Any:
    """Run a recipe and show its events; exits with 75 where it was interrupted and the result so far is saved."""
    check_images_exist(*recipe.data.image_folders)
    check_model_exists(recipe.model)
    check_trained_file_exists(recipe.continue_from)
    announce_loading()
    from tetrad.run.train import train

    return follow(train(recipe, stop=StopRequest()), as_json)


for each, method in METHODS.items():
    app.command(each, help=method.advice.command_help)(
        method_command(each, lambda recipe, as_json: run_recipe(recipe, as_json))
    )
app.command(VAE_DECODER, help=vae_decoder.HELP)(vae_decoder.vae_decoder)
