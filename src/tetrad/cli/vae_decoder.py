"""`tetrad train vae-decoder`: train a VAE's decoder to restore one kind of image better."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tetrad.cli.flags import build_command, flag_parameters, make_parameter
from tetrad.cli.recipe_command import VAE_DECODER, check_recipe_command
from tetrad.cli.runs import AsJson, Assignments, RecipeFile, StopRequest, collect_values, follow
from tetrad.cli.terminal import announce_loading
from tetrad.given_paths import check_images_exist
from tetrad.locales import _
from tetrad.settings.field import settings_of
from tetrad.settings.toml import build_settings
from tetrad.settings.vae_decoder import DecoderRecipe

SETTINGS = {setting.key.replace(".", "_"): setting for setting in settings_of(DecoderRecipe)}
HELP = _("Train a VAE's decoder; latents stay unchanged.")


def train(images: str, recipe: Path | None, assignments: list[str] | None, as_json: bool, **given: Any) -> None:
    check_recipe_command(recipe, VAE_DECODER)
    values = collect_values(recipe, SETTINGS, given, assignments, {"images": images})
    built = build_settings(DecoderRecipe, values)
    check_images_exist(built.images)
    announce_loading()
    from tetrad.run.vae_decoder import train_decoder

    follow(train_decoder(built, stop=StopRequest()), as_json)


vae_decoder = build_command(
    train,
    [
        make_parameter("images", Annotated[str, typer.Argument(help=SETTINGS["images"].help)], ""),
        *flag_parameters(SETTINGS.values()),
        make_parameter("recipe", RecipeFile, None),
        make_parameter("assignments", Assignments, None),
        make_parameter("as_json", AsJson, False),
    ],
)
