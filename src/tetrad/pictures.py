"""A run's pictures: found, called something, turned into latents."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

from tetrad import library
from tetrad.builtin import model_path, samples_path
from tetrad.data import buckets
from tetrad.data.batches import Sample
from tetrad.data.cache import Cache, encode_photos
from tetrad.data.folder import Photo, caption_sources, gathered, read, subjects
from tetrad.data.layouts import Listing
from tetrad.data.masks import masks
from tetrad.data.sources import listed
from tetrad.data.subsets import Subset
from tetrad.data.templates import check_named, nameless
from tetrad.errors import TetradError
from tetrad.kinds import KINDS
from tetrad.methods.trigger_word import check_word
from tetrad.models.base import Model
from tetrad.models.text import tokens_lost, unread
from tetrad.recipe import Recipe
from tetrad.training.events import Event, Note, Phase, Progress


def listing(recipe: Recipe) -> Listing:
    """The files the recipe names, none of them opened yet.  E4001 where it names none."""
    data = recipe.data
    if not data.images:
        raise TetradError("E4001", "no pictures are named; give a folder, or builtin:subject to try it out")
    needs_word = KINDS[recipe.method.writes].needs_word
    if needs_word:
        check_named(data.captions.template, data.word)
    return listed(samples_path(data.images), Subset(data.word, data.class_word, data.captions, varied=needs_word))


def described(recipe: Recipe, found: Listing) -> Recipe:
    """The recipe with what the data set says of itself, where the recipe leaves it open."""
    words = {entry.subset.word for entry in found.entries if not entry.subset.prior}
    classes = {entry.subset.class_word for entry in found.entries if not entry.subset.prior}
    data, train = recipe.data, recipe.train
    return replace(
        recipe,
        data=replace(
            data,
            word=data.word or (words.pop() if len(words) == 1 else ""),
            class_word=data.class_word or (classes.pop() if len(classes) == 1 else ""),
            resolution=data.resolution or found.resolution,
        ),
        train=replace(train, batch_size=train.batch_size or found.batch_size),
    )


def opened(found: Listing, cache: Cache) -> Generator[Event, None, tuple[list[Photo], list[Event]]]:
    """Decode what no run has seen yet; returns the photos, and what to say of them."""
    yield Phase("reading the pictures", len(found))
    seen = []
    for result in read(found, cache):
        seen.append(result)
        yield Progress(len(seen))
    photos, skipped = gathered(found, seen)
    notes: list[Event] = [Note(f"{bad.path.name}: {bad.reason}", bad.code) for bad in skipped]
    left_out = sum(bad.is_image for bad in skipped)
    own = subjects(photos)
    of_class = f"{len(photos) - len(own)} of the class beside them, " if len(own) < len(photos) else ""
    told = f"{counted(len(own), 'picture')}, {caption_sources(own)}, {of_class}{counted(left_out, 'file')} left out"
    return photos, [*notes, Note(told)]


def counted(number: int, kind: str) -> str:
    return f"{number} {kind}{'s' * (number != 1)}"


def notes(recipe: Recipe, found: Sequence[Photo]) -> Iterator[Event]:
    """What to say of the word, or of each word where the data set teaches several."""
    words = [recipe.data.word] if recipe.data.word else sorted({photo.subset.word for photo in found} - {""})
    if not words:
        yield Note("no trigger word is given (--word), so what is learned will show in every picture")
    for number, word in enumerate(words):
        yield from (Note(sentence, code) for code, sentence in check_word(word, words[:number]).warnings)
    if words and (line := nameless(recipe.data.captions.template, words[0])):
        yield Note(f"the template line {line!r} has no [name], so {words[0]} is in no caption made from it", "W3141")


def cut(recipe: Recipe, model: Model, found: Sequence[Photo]) -> Iterator[Event]:
    """A warning for each caption of which the last words are not read.

    E3113 where a new word has so many vectors that none of the captions has room for it.
    """
    reading, words = recipe.text.reading, model.texts[0].words
    unseen = [unread(photo.captions.longest, reading, words) for photo in found]
    if unseen and all(unseen):
        raise TetradError(
            "E3113",
            f"no caption has room for {unseen[0][0]}: with its {len(words[unseen[0][0]])} vectors it does not fit into "
            f"the {recipe.text.tokens} tokens that are read; give it fewer with --vectors, or set text.tokens=225",
        )
    for photo, lost_words in zip(found, unseen, strict=True):
        if lost := tokens_lost(photo.captions.longest, reading, words):
            among = f", {lost_words[0]} among them, so it teaches nothing" if lost_words else ""
            read_now = f"{recipe.text.tokens}{among}; text.tokens=225 reads more"
            yield Note(
                f"the caption of {photo.path.name} is cut: its last {lost} tokens do not fit in {read_now}", "W4153"
            )


def latents(
    recipe: Recipe, model: Model, found: Sequence[Photo], cache: Cache, stop: Callable[[], bool]
) -> Generator[Event, None, list[Sample]]:
    """Every photo as a sample; none of them where the run is stopped on the way.

    The VAE that makes the latents is the checkpoint's own unless the recipe names one. It learns nothing, and rests
    afterwards.
    """
    own = model.vae
    chosen = vae(recipe, model)
    if chosen.path:
        library.mount(chosen.path, model)
    yield Note(f"latents are made by the VAE of {model.vae.owner}; no VAE is trained")
    yield from (Note(warning, "W3151") for warning in chosen.warnings)
    yield Phase("encoding the pictures", len(found))
    samples: list[Sample] = []
    for sample in encoded(recipe, model, found, cache):
        samples.append(sample)
        yield Progress(len(samples))
        if stop():
            return []
    yield from (Note(warning, "W6101") for warning in cache.warnings)
    yield from (Note(warning, "W3151") for warning in model.vae.warnings)
    if not own.missing:
        model.vae = own
    model.vae.rest()
    return samples


def vae(recipe: Recipe, model: Model) -> library.Choice:
    """Which VAE makes a run's latents, and why that one.  E5206 where it is not there."""
    path = model_path(recipe.model)
    return library.training_vae(path, recipe.vae, model.vae.missing or model.vae.mounted, library.around(path))


def encoded(recipe: Recipe, model: Model, found: Sequence[Photo], cache: Cache) -> Iterator[Sample]:
    """Each photo as a latent distribution, from the cache or from the VAE."""
    data, identity = recipe.data, library.vae_identity(model)
    for photo in found:
        subset = photo.subset
        size = buckets.nearest(photo.width, photo.height, buckets.sizes(subset.resolution or data.resolution))
        flip = data.flip if subset.flip is None else subset.flip
        masked = data.alpha_mask if subset.alpha_mask is None else subset.alpha_mask
        for _, distributions in encode_photos([photo], [size], model.vae.encode, identity, cache, flip):
            height, width = distributions[0].mean.shape[1:]
            opaque = masks(photo, size, (height, width), cache, flip) if masked else ()
            yield Sample.of(photo, distributions, size, data.prior.weight, opaque)
