"""Pictures of the class, drawn by the model that is to be trained while it still knows nothing new."""

import hashlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path

from tetrad import library
from tetrad.builtin import samples_path
from tetrad.data.cache import Cache, default_folder
from tetrad.data.captions import contains
from tetrad.data.folder import Photo, gathered, read
from tetrad.data.images import to_image
from tetrad.data.priors import ClassImages, class_images, number
from tetrad.errors import TetradError
from tetrad.generation import png
from tetrad.generation.generate import pictures, with_size
from tetrad.generation.request import Request
from tetrad.models.base import Model
from tetrad.recipe import Recipe
from tetrad.training.events import Event, Note, Phase, Progress

STEPS = 30  # sampler steps of a class picture
AT_ONCE = 4


def settled(recipe: Recipe) -> Recipe:
    """The recipe with the prompt and the folder of its class pictures decided, where it asks for some.

    Without a folder of their own they are kept beside the cache, under what made them, so that the next run with this
    model and this prompt finds them. Raises E3151, E3152, E3156 and E3157 where that makes no sense.
    """
    if not recipe.data.prior.wanted:
        return recipe
    check_prompt(recipe)
    check_folder(recipe)
    prior = recipe.data.prior
    prompt = prior.prompt or f"a photo of {recipe.data.class_word}"
    images = prior.images or str(default_folder() / "class pictures" / digest(made_by(recipe), prompt))
    return replace(recipe, data=replace(recipe.data, prior=replace(prior, prompt=prompt, images=images)))


def check_prompt(recipe: Recipe) -> None:
    """E3151 where nothing says what the class is, E3152 where the prompt forgets it, E3157 where it says the word."""
    prompt, class_word, word = recipe.data.prior.prompt, recipe.data.class_word, recipe.data.word
    write = f"write 'a photo of {class_word}'"
    if not class_word:
        raise TetradError(
            "E3151", "class pictures are asked for, but nothing says of which class; give it with --class-word dog"
        )
    if prompt and not contains(prompt, class_word):
        raise TetradError("E3152", f"the class prompt {prompt!r} does not hold the class word {class_word!r}; {write}")
    if prompt and word and contains(prompt, word):
        what = f"the class prompt {prompt!r} holds the new word {word!r}, which class pictures are to be without"
        raise TetradError("E3157", f"{what}; {write}")


def check_folder(recipe: Recipe) -> None:
    """E3156 where class pictures and those to learn from would lie together, so that each were taken for the other."""
    if not recipe.data.prior.images:
        return
    own, of_class = (
        Path(name).expanduser().resolve() for name in (str(samples_path(recipe.data.images)), recipe.data.prior.images)
    )
    if own.is_relative_to(of_class) or of_class.is_relative_to(own):
        what = f"the folder of class pictures, {of_class}, and that of the pictures to learn from, {own}, are one"
        raise TetradError("E3156", f"{what} or in one another; give class pictures a folder beside it")


def made_by(recipe: Recipe) -> str:
    """What decides a class picture besides its prompt and its number."""
    model = library.model_hashes(recipe.model)[0] or recipe.model
    read = f" clip skip {recipe.text.clip_skip}" if recipe.text.clip_skip else ""
    return f"{model} {recipe.data.resolution} {STEPS}{read}"


def digest(*texts: str) -> str:
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:16]


def of_class(recipe: Recipe) -> ClassImages:
    prior = recipe.data.prior
    return class_images(Path(prior.images).expanduser(), prior.prompt, prior.count, made_by(recipe))


def made(recipe: Recipe, model: Model, stop: Callable[[], bool]) -> Iterator[Event]:
    """Draw the class pictures that are missing, one seed each, so that a run that was stopped goes on where it was."""
    prior = recipe.data.prior
    if not prior.wanted:
        return
    there = of_class(recipe)
    drawn = f", {len(there.missing)} are drawn: {prior.prompt!r}" if there.missing else ""
    yield Note(f"{len(there.listing)} class pictures are in {there.listing.root}{drawn}")
    if not there.missing:
        return
    yield Phase("drawing class pictures", len(there.missing))
    make_folder(there.listing.root)
    for first in range(0, len(there.missing), AT_ONCE):
        paths = there.missing[first : first + AT_ONCE]
        asked = [request(recipe, path) for path in paths]
        for path, one, picture in zip(paths, asked, pictures(model, asked, AT_ONCE), strict=True):
            png.save(path, to_image(picture), png.infotext(with_size(one, model), one.prompt, model.name))
        yield Progress(first + len(paths))
        if stop():
            return


def photos(recipe: Recipe, cache: Cache) -> Generator[Event, None, list[Photo]]:
    """The class pictures to learn beside the subject's; tells of those that cannot be used, and returns the others."""
    if not recipe.data.prior.wanted:
        return []
    listing = of_class(recipe).listing
    found, skipped = gathered(listing, read(listing, cache))
    yield from (Note(f"{bad.path.name}: {bad.reason}", bad.code) for bad in skipped)
    return found


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TetradError("E4202", f"{folder} cannot be made ({error.strerror}); name another folder") from error


def request(recipe: Recipe, path: Path) -> Request:
    side = recipe.data.resolution // 8 * 8
    return Request(recipe.data.prior.prompt, seed=number(path), steps=STEPS, width=side, height=side)
