"""Decode and encode the images of a run without training, so that several processes can share this work."""

from collections.abc import Iterator
from functools import partial

from tetrad.cache_location import get_cache_folder
from tetrad.data.latent_cache import LatentCache
from tetrad.locales import Message, _, ngettext
from tetrad.run.continuation import locate_start, read_trigger_word
from tetrad.run.dataset import encode_images, load_dataset
from tetrad.run.events import Event, Note, Phase
from tetrad.run.open_model import find_model_resolution, open_model
from tetrad.run.precision import select_training_device
from tetrad.run.resolve import Facts, resolve
from tetrad.run.watch import Stop, StoppedBeforeStart, never_stop
from tetrad.settings import Recipe


def encode_only(recipe: Recipe, stop: Stop = never_stop) -> Iterator[Event]:
    """Encode the images of a recipe into the cache, as a run would; class images are left out.

    StoppedBeforeStart where `stop` returns True meanwhile; what is encoded by then is kept.
    """
    device = select_training_device(recipe.train.device, recipe.train.precision, recipe.model)
    recipe, cache = locate_start(recipe), LatentCache(get_cache_folder())
    word, required = read_trigger_word(recipe.continue_from, recipe.method.artifact), False
    dataset = yield from load_dataset(
        recipe.data, required, word, cache, stop, partial(find_model_resolution, recipe.model)
    )
    yield from dataset.notes
    yield Phase(Message(_("loading the model")))
    model, start = open_model(recipe, device)
    plan, _forecast = resolve(recipe, Facts(dataset, model, start, device))
    samples = yield from encode_images(plan, model, dataset.photos, cache, stop)
    if not samples:
        raise StoppedBeforeStart
    template = ngettext(
        "{count} image is encoded in {folder}; a run with the same model and resolution reads it there",
        "{count:,} images are encoded in {folder}; a run with the same model and resolution reads them there",
        len(samples),
    )
    yield Note(Message(template, folder=cache.folder))
