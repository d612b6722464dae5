"""The one place where a training run is put together: recipe → events."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from tetrad import library
from tetrad import recipe as recipes
from tetrad.builtin import samples_path
from tetrad.data import buckets
from tetrad.data.batches import Batch, Batches, Sample
from tetrad.data.cache import Cache, default_folder, encode_photos
from tetrad.data.folder import Photo, photos
from tetrad.data.images import framing, to_image
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.generation import png
from tetrad.generation.generate import pictures, with_size
from tetrad.generation.request import Request
from tetrad.metadata import Outcome, metadata
from tetrad.methods.base import Adapter
from tetrad.models.base import Model, device_of
from tetrad.models.text import tokens_lost
from tetrad.recipe import Recipe
from tetrad.training import device
from tetrad.training.events import Event, Finished, Note, Phase, Progress, Sampled, Saved, Trained
from tetrad.training.folder import RunFolder, file_name
from tetrad.training.loop import Step, training_steps
from tetrad.training.optimizers import adamw
from tetrad.training.remember import Remembered
from tetrad.training.schedules import scheduled

Stop = Callable[[], bool]  # asked at every unit of work
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def train(recipe: Recipe, stop: Stop = lambda: False) -> Iterator[Event]:
    """Run a recipe to its end, or until `stop` says so; what was learned is saved either way.

    Every event is also written to the run's folder. Raises TetradError for what a person can put right.
    """
    yield Phase("reading the pictures")
    cache = Cache(default_folder())
    found, notes = find_photos(recipe, cache)
    recipe = decided(recipe, found)
    place = device.chosen(recipe.train.device)
    folder = RunFolder.made(Path(recipe.save.out).expanduser(), recipe.save.name)
    try:
        for event in together(recipe, found, notes, cache, place, folder, stop):
            folder.record(event)
            yield event
    except TetradError:
        if not (folder.path / "metrics.jsonl").exists():  # it ended before its first step, so nothing in it is of use
            shutil.rmtree(folder.path)
        raise


def together(
    recipe: Recipe,
    found: Sequence[Photo],
    notes: Sequence[Event],
    cache: Cache,
    place: device.Device,
    folder: RunFolder,
    stop: Stop,
) -> Iterator[Event]:
    """The run, in the order in which it happens."""
    yield from notes
    yield Phase("loading the model")
    model = library.load_model(recipe.model)
    device.settle(model, place)
    recipe = sized(recipe, model)
    folder.write_recipe(recipes.written(recipe))
    yield from caption_notes(found)

    yield Phase("encoding the pictures", len(found))
    samples: list[Sample] = []
    for sample in encoded(recipe, model, found, cache):
        samples.append(sample)
        yield Progress(len(samples))
        if stop():
            yield Note("stopped before the first step, so nothing was learned and nothing is saved", "W7501")
            return
    yield from (Note(warning, "W6101") for warning in cache.warnings)

    adapter = recipe.method.attach(model, generator(recipe.train.seed, 0, "method"))
    yield Phase("training", recipe.train.steps)
    batches = Batches(samples, recipe.train.batch_size, recipe.train.seed)
    yield from learned(Run(recipe, model, adapter, found, batches, folder), stop)


@dataclass(frozen=True)
class Run:
    """What a run has in hand once everything is ready to learn."""

    recipe: Recipe
    model: Model
    adapter: Adapter
    found: Sequence[Photo]
    batches: Batches
    folder: RunFolder
    started: float = field(default_factory=time.time)


def learned(run: Run, stop: Stop) -> Iterator[Event]:
    """Train to the last step or until `stop`, with previews and saves on the way; the result is saved at the end."""
    settings, step = run.recipe.train, 0
    for done in steps(run):
        step = done.number
        yield Trained(step, settings.steps, done.loss, done.grad_norm, done.learning_rate)
        if stop():
            break
        if run.recipe.sample.every > 0 and step % run.recipe.sample.every == 0:
            yield from previews(run, step)
        if run.recipe.save.every and step % run.recipe.save.every == 0 and step < settings.steps:
            yield saved(run, step, run.folder.result(step))
    complete = step == settings.steps
    result = saved(run, step, run.folder.result(None if complete else step))
    yield result
    yield Finished(result.path, run.folder.path, step, time.time() - run.started, complete)


def steps(run: Run) -> Iterator[Step]:
    """The recipe's settings put into the training loop."""
    settings, groups = run.recipe.train, run.adapter.groups()
    rates = usual_rates(run.recipe, groups)
    return training_steps(
        run.model,
        run.model.condition if "text_encoder" in groups else Remembered(run.model),
        run.recipe.loss.objective(),
        updates(run.batches, settings.steps, settings.gradient_accumulation, device_of(run.model)),
        adamw(groups, weight_decay=settings.weight_decay),
        seed=settings.seed,
        rates={
            part: scheduled(rate, settings.schedule, settings.steps, settings.warmup_steps)
            for part, rate in rates.items()
        },
        max_grad_norm=settings.max_grad_norm,
        after_update=run.adapter.after_update,
    )


def usual_rates(recipe: Recipe, groups: Iterable[str]) -> dict[str, float]:
    """The learning rate of each group: the recipe's, or else the method's; of text encoders in its proportion."""
    usual = {group: float(rate) for group, rate in recipe.method.rates().items()}
    base = usual.get("", 1.0)
    given, text = recipe.train.learning_rate, recipe.train.text_encoder_learning_rate
    found = {}
    for group in groups:
        rate = usual.get(group, base)
        found[group] = rate if given == "" else float(given) * rate / base
        if group.startswith("text_encoder") and text != "":
            found[group] = float(text)
    return found


def updates(batches: Batches, number: int, accumulation: int, place: torch.device) -> Iterator[list[Batch]]:
    """The batches of each update, on the device; batch k is the same whatever came before."""
    for update in range(number):
        yield [batch.to(place) for batch in batches.update(update, accumulation)]


def find_photos(recipe: Recipe, cache: Cache) -> tuple[list[Photo], list[Event]]:
    """The photos that can be trained on, and what to say of those that cannot."""
    if not recipe.data.images:
        raise TetradError("E4001", "no pictures are named; give a folder, or builtin:subject to try it out")
    found, skipped = photos(samples_path(recipe.data.images), recipe.data.word, recipe.data.class_word, cache)
    notes: list[Event] = [Note(f"{bad.path.name}: {bad.reason}", bad.code) for bad in skipped]
    own = sum(photo.caption_source.startswith("file") for photo in found)
    return found, [
        *notes,
        Note(f"{len(found)} pictures, {own} with a caption of their own, {len(skipped)} files left out"),
    ]


def caption_notes(found: Sequence[Photo]) -> Iterator[Event]:
    """A warning for each caption that CLIP's window cuts."""
    for photo in found:
        if lost := tokens_lost(photo.caption):
            yield Note(f"the caption of {photo.path.name} is cut: its last {lost} tokens do not fit in 75", "W4153")


def decided(recipe: Recipe, found: Sequence[Photo]) -> Recipe:
    """The recipe with what it leaves open decided by the pictures."""
    number = recipe.train.steps or recipe.method.steps(len(found))
    name = recipe.save.name or file_name(recipe.data.word or samples_path(recipe.data.images).stem)
    return replace(recipe, train=replace(recipe.train, steps=number), save=replace(recipe.save, name=name))


def sized(recipe: Recipe, model: Model) -> Recipe:
    """The recipe with what it leaves open decided by the model and the machine."""
    data, train, sample = recipe.data, recipe.train, recipe.sample
    resolution = data.resolution or model.resolution
    small = resolution <= 128
    every = sample.every or (-(-train.steps // 4) if small or device_of(model).type != "cpu" else -1)
    subject = " ".join(filter(None, [data.word, data.class_word])) or "it"
    prompts = sample.prompts or (f"a photo of {subject}", f"a photo of {data.class_word or 'something else'}")
    return replace(
        recipe,
        data=replace(data, resolution=resolution),
        train=replace(train, batch_size=train.batch_size or (4 if small else 1)),
        sample=replace(sample, every=every, prompts=prompts),
    )


def encoded(recipe: Recipe, model: Model, found: Sequence[Photo], cache: Cache) -> Iterator[Sample]:
    """Each photo as a latent distribution, from the cache or from the VAE."""
    sizes = buckets.sizes(recipe.data.resolution)
    chosen = [buckets.nearest(photo.width, photo.height, sizes) for photo in found]
    identity = library.vae_identity(model)
    made = encode_photos(found, chosen, model.vae.encode, identity, cache, recipe.data.flip)
    for number, distributions in made:
        photo = found[number]
        yield Sample(distributions, photo.captions, framing=framing((photo.width, photo.height), chosen[number]))


def previews(run: Run, step: int) -> Iterator[Event]:
    """The recipe's prompts as the model draws them now, at one seed."""
    sample = run.recipe.sample
    asked = [Request(prompt, seed=run.recipe.train.seed, steps=sample.steps) for prompt in sample.prompts]
    for number, (request, picture) in enumerate(zip(asked, pictures(run.model, asked), strict=True)):
        path = run.folder.sample(step, number)
        png.save(path, to_image(picture), png.infotext(with_size(request, run.model), request.prompt, run.model.name))
        yield Sampled(step, request.prompt, path)


def saved(run: Run, step: int, path: Path) -> Saved:
    """Write what was learned by `step`; the file is read back before this returns."""
    precision = PRECISIONS[run.recipe.save.precision]
    learned = run.adapter.weights()
    tensors = {name: tensor.to(precision) for name, tensor in learned.tensors.items()}
    outcome = Outcome(
        name=path.stem,
        step=step,
        batches_per_epoch=len(run.batches),
        started=run.started,
        folder=samples_path(run.recipe.data.images).name,
        captions=[photo.caption for photo in run.found],
        hashes=library.model_hashes(run.recipe.model),
    )
    about = metadata(run.recipe, run.model, outcome)
    path = library.save(path, replace(learned, tensors=tensors), run.model, about)
    return Saved(step, path)
