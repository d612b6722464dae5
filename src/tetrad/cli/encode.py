"""`tetrad encode`: decode and encode images into the cache, without training.  The same arguments as `tetrad train`."""

import sys

import typer

from tetrad.cli.runs import StopRequest
from tetrad.cli.terminal import announce_loading, print_note, show_events
from tetrad.cli.train import TrainGroup, method_command
from tetrad.errors import INTERRUPTED
from tetrad.given_paths import check_images_exist, check_model_exists, check_trained_file_exists
from tetrad.locales import _
from tetrad.methods import METHODS
from tetrad.settings.recipe import Recipe

HELP = _(
    "Encode images into the cache without training, for large data sets; start it several times to share the work."
)

app = typer.Typer(help=HELP, cls=TrainGroup, no_args_is_help=True, rich_markup_mode=None)


def encode_recipe(recipe: Recipe, as_json: bool) -> None:
    """Encode the images of a recipe; exits with 130 where it was stopped, and keeps what is encoded by then."""
    check_images_exist(*recipe.data.image_folders)
    check_model_exists(recipe.model)
    check_trained_file_exists(recipe.continue_from)
    announce_loading()
    from tetrad.run.encode_only import encode_only
    from tetrad.run.watch import StoppedBeforeStart

    try:
        show_events(encode_only(recipe, StopRequest()), as_json, shows_next_steps=False)
    except StoppedBeforeStart:
        print_note(_("stopped; the same command encodes the rest"))
        sys.exit(INTERRUPTED)


for each, method in METHODS.items():
    app.command(each, help=method.advice.command_help)(
        method_command(each, lambda recipe, as_json: encode_recipe(recipe, as_json))
    )
