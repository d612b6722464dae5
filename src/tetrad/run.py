"""The one place where a training run is put together: recipe → events."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import torch
from torch import nn

from tetrad import library, plan, priors
from tetrad import recipe as recipes
from tetrad.builtin import samples_path
from tetrad.data import buckets
from tetrad.data.batches import Batch, Batches, Sample
from tetrad.data.cache import Cache, default_folder, encode_photos
from tetrad.data.folder import Photo, caption_sources, photos
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.metadata import KINDS, Outcome, metadata
from tetrad.methods.base import Adapter
from tetrad.models.base import Model, device_of
from tetrad.models.text import tokens_lost
from tetrad.previews import Previews
from tetrad.recipe import Recipe
from tetrad.training import device
from tetrad.training.ema import Ema
from tetrad.training.events import Event, Finished, Note, Phase, Progress, Saved, Trained
from tetrad.training.folder import RunFolder
from tetrad.training.loop import Step, training_steps
from tetrad.training.optimizers import adamw
from tetrad.training.remember import Remembered
from tetrad.training.step import Condition
from tetrad.weights import Weights

Stop = Callable[[], bool]  # asked at every unit of work
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def train(recipe: Recipe, stop: Stop = lambda: False) -> Iterator[Event]:
    """Run a recipe to its end, or until `stop` says so; what was learned is saved either way.

    Every event is also written to the run's folder. Raises TetradError for what a person can put right.
    """
    yield Phase("reading the pictures")
    cache = Cache(default_folder())
    found, notes = find_photos(recipe, cache)
    recipe = plan.named(recipe, len(found))
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
    model, start = opened(recipe, place)
    recipe = plan.settled(recipe, model, [photo.caption for photo in found], start)
    recipe = priors.settled(recipe, model)
    folder.write_recipe(recipes.written(recipe))
    yield from caption_notes(recipe, found)
    yield from priors.made(recipe, model, stop)

    of_class = priors.photos(recipe, cache)
    yield Phase("encoding the pictures", len(found) + len(of_class))
    samples: list[Sample] = []
    subjects, known = encoded(recipe, model, found, cache), encoded(recipe, model, of_class, cache)
    for sample in chain(subjects, (priors.marked(sample, recipe.data.prior) for sample in known)):
        samples.append(sample)
        yield Progress(len(samples))
        if stop():
            yield Note("stopped before the first step, so nothing was learned and nothing is saved", "W7501")
            return
    yield from (Note(warning, "W6101") for warning in cache.warnings)

    adapter = recipe.method.attach(model, generator(recipe.train.seed, 0, "method"), start)
    batches = Batches(samples, recipe.train.batch_size, recipe.train.seed)
    previews = Previews(recipe, [photo.caption for photo in found], folder)
    average = Ema(learning(adapter), recipe.train.ema) if recipe.train.ema else None
    run = Run(recipe, model, adapter, found, batches, previews, folder, average, plan.steps_of(start))
    yield from learned(run, stop)


@dataclass(frozen=True)
class Run:
    """What a run has in hand once everything is ready to learn."""

    recipe: Recipe
    model: Model
    adapter: Adapter
    found: Sequence[Photo]
    batches: Batches
    previews: Previews
    folder: RunFolder
    average: Ema | None
    before: int = 0  # steps that what it goes on from has learned for
    started: float = field(default_factory=time.time)


def learned(run: Run, stop: Stop) -> Iterator[Event]:
    """Train to the last step or until `stop`, with previews and saves on the way; the result is saved at the end.

    Where training breaks off, what was learned until then is saved before the error goes on.
    """
    last, step = run.recipe.train.steps, run.before
    if run.previews.first:
        yield from drawn(run, step)
    yield Phase("training", last)
    try:
        for done in steps(run):
            step = done.number
            yield Trained(step, last, done.loss, done.grad_norm, done.learning_rate)
            if stop():
                break
            if run.previews.due(step):
                yield from drawn(run, step)
            if run.recipe.save.every and step % run.recipe.save.every == 0 and step < last:
                yield saved(run, step, run.folder.result(step))
    except (TetradError, MemoryError, RuntimeError) as error:
        yield from broken_off(run, step, error)
    complete = step == last
    result = saved(run, step, run.folder.result(None if complete else step))
    yield result
    yield Finished(result.path, run.folder.path, step, time.time() - run.started, complete)


def broken_off(run: Run, step: int, error: Exception) -> Iterator[Event]:
    """Save what was learned by `step`, then raise what a person can do about the error."""
    told = error if isinstance(error, TetradError) else out_of_memory(error)
    if told is None:
        raise error
    kept = ""
    if step > run.before:
        result = saved(run, step, run.folder.result(step))
        yield result
        kept = f"; what was learned by step {step} is kept in {result.path}, and --continue goes on from it"
    raise TetradError(told.code, f"{told.message}{kept}") from error


def out_of_memory(error: Exception) -> TetradError | None:
    """E6001 where an error says that there is no memory left; None where it says something else."""
    if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "memory" not in str(error):
        return None
    ways = "--batch-size 1, --set train.gradient_checkpointing=true, or a smaller data.resolution"
    return TetradError("E6001", f"there is not enough memory for a step; {ways} would need less")


def drawn(run: Run, step: int) -> Iterator[Event]:
    with averaged(run):
        yield from run.previews.draw(run.model, step)


@contextmanager
def averaged(run: Run) -> Iterator[None]:
    """Inside, what is learned is its average over the steps, where the recipe keeps one."""
    if run.average is None:
        yield
        return
    run.average.swap(learning(run.adapter))
    try:
        yield
    finally:
        run.average.swap(learning(run.adapter))


def learning(adapter: Adapter) -> list[nn.Parameter]:
    return [parameter for group in adapter.groups().values() for parameter in group]


def steps(run: Run) -> Iterator[Step]:
    """The recipe's settings put into the training loop."""
    settings, groups = run.recipe.train, run.adapter.groups()

    def after_update() -> None:
        run.adapter.after_update()
        if run.average is not None:
            run.average.update(learning(run.adapter))

    return training_steps(
        run.model,
        condition(run),
        run.recipe.loss.objective(),
        updates(run),
        adamw(groups, weight_decay=settings.weight_decay),
        seed=settings.seed,
        rates=plan.rates(settings, run.recipe.method.rates(), groups, [text.name for text in run.model.texts]),
        first=run.before,
        samples_before=run.batches.samples_before(run.before, settings.gradient_accumulation),
        max_grad_norm=settings.max_grad_norm,
        after_update=after_update,
    )


def condition(run: Run) -> Condition:
    """How captions are read: once each, where nothing that learns has a part in it."""
    caption = next(iter(run.batches.samples)).captions.plain
    learns = run.model.condition([caption]).tokens.requires_grad
    return run.model.condition if learns else Remembered(run.model)


def updates(run: Run) -> Iterator[list[Batch]]:
    """The batches of each update still to be done, on the device; an update is the same whatever came before."""
    settings, place = run.recipe.train, device_of(run.model)
    for number in range(run.before, settings.steps):
        yield [batch.to(place) for batch in run.batches.update(number, settings.gradient_accumulation)]


def opened(recipe: Recipe, place: device.Device) -> tuple[Model, Weights | None]:
    """The model as the recipe wants it read, and what the run goes on from, if anything."""
    model = library.load_model(recipe.model)
    device.settle(model, place, recipe.method.whole())
    model.reading = recipe.text.reading
    start = library.read(Path(recipe.start).expanduser(), model, recipe.method.writes) if recipe.start else None
    return model, start


def find_photos(recipe: Recipe, cache: Cache) -> tuple[list[Photo], list[Event]]:
    """The photos that can be trained on, and what to say of those that cannot."""
    if not recipe.data.images:
        raise TetradError("E4001", "no pictures are named; give a folder, or builtin:subject to try it out")
    found, skipped = photos(samples_path(recipe.data.images), recipe.data.word, recipe.data.class_word, cache)
    notes: list[Event] = [Note(f"{bad.path.name}: {bad.reason}", bad.code) for bad in skipped]
    return found, [
        *notes,
        Note(f"{len(found)} pictures, {caption_sources(found)}, {len(skipped)} files left out"),
    ]


def caption_notes(recipe: Recipe, found: Sequence[Photo]) -> Iterator[Event]:
    """A warning for each caption of which the last words are not read."""
    for photo in found:
        if lost := tokens_lost(photo.caption, recipe.text.reading):
            read = f"{recipe.text.tokens}; text.tokens=225 reads more"
            yield Note(f"the caption of {photo.path.name} is cut: its last {lost} tokens do not fit in {read}", "W4153")


def encoded(recipe: Recipe, model: Model, found: Sequence[Photo], cache: Cache) -> Iterator[Sample]:
    """Each photo as a latent distribution, from the cache or from the VAE."""
    sizes = buckets.sizes(recipe.data.resolution)
    chosen = [buckets.nearest(photo.width, photo.height, sizes) for photo in found]
    identity = library.vae_identity(model)
    made = encode_photos(found, chosen, model.vae.encode, identity, cache, recipe.data.flip)
    for number, distributions in made:
        yield Sample.of(found[number], distributions, chosen[number])


def saved(run: Run, step: int, path: Path) -> Saved:
    """Write what was learned by `step`; the file is read back before this returns."""
    with averaged(run):  # to the end, since the weights may be the tensors that learn
        weights = run.adapter.weights()
        precision = PRECISIONS[run.recipe.save.precision or KINDS[weights.kind].precision]
        tensors = {name: tensor.to(precision) for name, tensor in weights.tensors.items()}
        weights = replace(weights, tensors=tensors, metadata={**weights.metadata, "step": str(step)})
        about = metadata(run.recipe, run.model, outcome(run, step, path))
        return Saved(step, library.save(path, weights, run.model, about, run.recipe.save.spelling))


def outcome(run: Run, step: int, path: Path) -> Outcome:
    return Outcome(
        name=path.name,
        step=step,
        batches_per_epoch=len(run.batches),
        started=run.started,
        folder=samples_path(run.recipe.data.images).name,
        captions=[photo.caption for photo in run.found],
        class_pictures=sum(sample.prior for sample in run.batches.samples),
        hashes=library.model_hashes(run.recipe.model),
    )
