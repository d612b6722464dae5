"""Pictures of the class, drawn by the model that is to be trained while it still knows nothing new."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tetrad import library
from tetrad.data.batches import Sample
from tetrad.data.cache import Cache, default_folder
from tetrad.data.captions import Captions
from tetrad.data.folder import Photo
from tetrad.data.folder import photos as folder_photos
from tetrad.data.images import to_image
from tetrad.data.priors import Prior
from tetrad.data.sources import listed
from tetrad.errors import TetradError
from tetrad.generation import png
from tetrad.generation.generate import pictures, with_size
from tetrad.generation.request import Request
from tetrad.models.base import Model
from tetrad.recipe import Recipe
from tetrad.training.events import Event, Note, Phase, Progress

STEPS = 30  # sampler steps of a class picture
AT_ONCE = 4


def settled(recipe: Recipe, model: Model) -> Recipe:
    """The recipe with the prompt and the folder of its class pictures decided, where it asks for some.

    Without a folder of their own they are kept beside the cache, under what made them, so that the next run with this
    model and this prompt finds them.  E3151 where nothing says what the class is, E3152 where the prompt forgets it.
    """
    prior, word = recipe.data.prior, recipe.data.class_word
    if not prior.wanted:
        return recipe
    if not word:
        raise TetradError(
            "E3151", "class pictures are asked for, but nothing says of which class; give it with --class-word dog"
        )
    if prior.prompt and word.lower() not in prior.prompt.lower():
        raise TetradError(
            "E3152",
            f"the class prompt {prior.prompt!r} does not hold the class word {word!r}; write 'a photo of {word}'",
        )
    prompt = prior.prompt or f"a photo of {word}"
    made_by = [library.model_hashes(recipe.model)[0] or recipe.model, prompt, recipe.data.resolution, STEPS]
    digest = hashlib.sha256(repr(made_by).encode()).hexdigest()[:16]
    images = prior.images or str(default_folder() / "class pictures" / digest)
    return replace(recipe, data=replace(recipe.data, prior=replace(prior, prompt=prompt, images=images)))


def made(recipe: Recipe, model: Model, stop: Callable[[], bool]) -> Iterator[Event]:
    """Draw the class pictures that are missing, one seed each, so that a run that was stopped goes on where it was."""
    prior = recipe.data.prior
    if not prior.wanted or not prior.count:
        return
    folder = Path(prior.images).expanduser()
    there = present(folder)
    missing = [path for path in numbered(folder, prior.count) if not path.exists()][: max(0, prior.count - there)]
    yield Note(f"{there} class pictures are in {folder}, {len(missing)} are drawn: {prior.prompt!r}")
    if not missing:
        return
    yield Phase("drawing class pictures", len(missing))
    for first in range(0, len(missing), AT_ONCE):
        paths = missing[first : first + AT_ONCE]
        asked = [request(recipe, path) for path in paths]
        for path, one, picture in zip(paths, asked, pictures(model, asked, AT_ONCE), strict=True):
            png.save(path, to_image(picture), png.infotext(with_size(one, model), one.prompt, model.name))
        yield Progress(first + len(paths))
        if stop():
            return


def photos(recipe: Recipe, cache: Cache) -> list[Photo]:
    """The class pictures to learn beside the subject's: all there are, or as many as the recipe says."""
    prior = recipe.data.prior
    if not prior.wanted:
        return []
    found, _ = folder_photos(Path(prior.images).expanduser(), cache=cache)
    return found[: prior.count or None]


def marked(sample: Sample, prior: Prior) -> Sample:
    """A class picture's sample as what it is, by the name the class has."""
    return replace(sample, captions=Captions(prior.prompt), weight=prior.weight, prior=True)


def present(folder: Path) -> int:
    """How many pictures a folder holds; it is made where there is none.  E4202 where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TetradError("E4202", f"{folder} cannot be made ({error.strerror}); name another folder") from error
    try:
        return len(listed(folder))
    except TetradError:  # no picture is there yet
        return 0


def numbered(folder: Path, count: int) -> list[Path]:
    return [folder / f"class-{number:05d}.png" for number in range(count)]


def request(recipe: Recipe, path: Path) -> Request:
    side = recipe.data.resolution // 8 * 8
    seed = int(path.stem.removeprefix("class-"))
    return Request(recipe.data.prior.prompt, seed=seed, steps=STEPS, width=side, height=side)
