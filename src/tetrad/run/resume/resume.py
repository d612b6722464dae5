"""Go on with an interrupted run, exactly where its newest resume point is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.run.events import Event
from tetrad.run.resume.resumption import open_resumption
from tetrad.run.status import read_status
from tetrad.run.train import train
from tetrad.run.vae_decoder import train_decoder
from tetrad.run.watch import Stop, never_stop
from tetrad.settings import DecoderRecipe
from tetrad.settings.field import replace
from tetrad.settings.toml import build_recipe, build_settings, read_values


def resume(
    path: Path,
    stop: Stop = never_stop,
    accepts_changes: bool = False,
    processes: int | None = None,
    sharding: Literal["none", "full"] | None = None,
    allow_slower: bool | None = None,
) -> Iterator[Event]:
    """Train on to the end of the run in this folder.  Relative paths of its recipe start in the working folder.

    `processes`, `sharding` and `allow_slower` replace those of the recipe. The result files are the same, byte for
    byte, as if the run had never stopped. E5162 where the folder is not that of a run, E5163 where images, captions,
    settings or files have changed and `accepts_changes` is false, E5164 where the run has ended whole, E4203 where
    another process trains in it.
    """
    if read_status(path).state == "finished":
        template = _("the run {folder} is complete; to train it further, give its file with --continue-from")
        raise TetradError("E5164", template, folder=path)
    resumption = open_resumption(path, accepts_changes)
    values = read_values(path / "recipe.toml")
    if "images" in values:  # only the recipe of a VAE decoder has this setting outside a section
        yield from train_decoder(build_settings(DecoderRecipe, values), stop, resumption)
        return
    recipe = build_recipe(values)
    if resumption.identity:  # decided by the free memory of that moment, which is another one now
        checkpointing = resumption.identity["settings"].get("train.gradient_checkpointing")
        recipe = replace(recipe, train=replace(recipe.train, gradient_checkpointing=checkpointing))
    train_settings = recipe.train
    if processes is not None:
        train_settings = replace(train_settings, processes=processes)
    if sharding is not None:
        train_settings = replace(train_settings, sharding=sharding)
    if allow_slower is not None:
        train_settings = replace(train_settings, allow_slower=allow_slower)
    yield from train(replace(recipe, train=train_settings), stop, resumption)
