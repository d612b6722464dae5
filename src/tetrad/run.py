"""The one place where a training run is put together: recipe → events."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from tetrad import briefing, library, pictures, plan, priors
from tetrad import recipe as recipes
from tetrad.builtin import samples_path
from tetrad.data.batches import Batch, Batches, Sample
from tetrad.data.cache import Cache, default_folder
from tetrad.data.folder import Photo, subjects
from tetrad.data.layouts import Listing
from tetrad.diffusion.noise import zero_terminal
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError, naming
from tetrad.kinds import KINDS
from tetrad.metadata import Outcome, metadata
from tetrad.methods.base import Adapter
from tetrad.models.base import Model, device_of
from tetrad.previews import Previews
from tetrad.recipe import Recipe
from tetrad.training import device, optimizers
from tetrad.training.ema import Ema
from tetrad.training.events import Event, Finished, Note, Phase, Saved, Trained
from tetrad.training.folder import RunFolder
from tetrad.training.loop import Step, training_steps
from tetrad.training.memory import explained
from tetrad.training.remember import Remembered
from tetrad.training.schedules import Schedule
from tetrad.training.step import Condition
from tetrad.weights import Weights

Stop = Callable[[], bool]  # asked at every unit of work


def train(recipe: Recipe, stop: Stop = lambda: False) -> Iterator[Event]:
    """Run a recipe to its end, or until `stop` says so; what was learned is saved either way.

    Every event is also written to the run's folder. Raises TetradError for what a person can put right.
    """
    cache = Cache(default_folder())
    place = device.chosen(recipe.train.device, recipe.train.precision)
    optimizers.check_there(recipe.train.optimizer)
    recipe, listing = listed(plan.begun(recipe))
    found, notes = yield from pictures.opened(listing, cache)
    recipe = plan.named(recipe, len(subjects(found)))
    folder = RunFolder.made(Path(recipe.save.out).expanduser(), recipe.save.name)
    try:
        for event in together(recipe, found, notes, cache, place, folder, stop):
            yield from folder.record(event)
            yield event
    except (TetradError, MemoryError, RuntimeError) as error:
        if not (folder.path / "metrics.jsonl").exists():  # it ended before its first step, so nothing in it is of use
            shutil.rmtree(folder.path, ignore_errors=True)
        raise explained(error) from error


def listed(recipe: Recipe) -> tuple[Recipe, Listing]:
    """The recipe with what its data set says, and the files, called by the word wherever that comes from."""
    listing = pictures.listing(recipe)
    described = plan.worded(pictures.described(recipe, listing))
    known = recipe.data.word or any(entry.subset.word for entry in listing.entries)
    return described, listing if known or not described.data.word else pictures.listing(described)


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
    yield Note(briefing.read(model))
    recipe = plan.settled(recipe, model, [photo.caption for photo in subjects(found)], start)
    recipe = priors.settled(recipe)
    folder.write_recipe(recipes.written(recipe))
    if start is not None:
        yield Note(briefing.begun(recipe.start, plan.steps_of(start)))
    yield from pictures.notes(recipe, found)
    recipe, memory = briefing.fitted(recipe, model, place)
    yield from memory
    if recipe.train.gradient_checkpointing:
        device.checkpointed(model)
    yield from priors.made(recipe, model, stop)

    of_class = yield from priors.photos(recipe, cache)
    samples = yield from pictures.latents(recipe, model, [*found, *of_class], cache, stop)
    if stop():
        yield Note("stopped before the first step, so nothing was learned and nothing is saved", "W7501")
        return
    run = ready(recipe, model, start, subjects(found), samples, folder)
    yield from briefing.notes(recipe, model, run.rates, run.before, folder.name)
    yield from briefing.of_class(recipe.data.prior, sum(sample.prior for sample in samples))
    yield from pictures.cut(recipe, model, run.found)
    yield from learned(run, stop)


def ready(
    recipe: Recipe,
    model: Model,
    start: Weights | None,
    found: Sequence[Photo],
    samples: Sequence[Sample],
    folder: RunFolder,
) -> "Run":
    """Attach what learns to the model, and lay everything out."""
    with naming(Path(recipe.start)):
        adapter = recipe.method.attach(model, generator(recipe.train.seed, 0, "method"), start)
    texts = [text.name for text in model.texts]
    rates = plan.rates(recipe.train, recipe.method.rates(), adapter.groups(), texts)
    plan.check_learning(rates, plan.steps_of(start), recipe.train.steps)
    return Run(
        recipe,
        model,
        adapter,
        found,
        Batches(
            samples, recipe.train.batch_size, recipe.train.seed, recipe.train.steps * recipe.train.gradient_accumulation
        ),
        Previews(recipe, [photo.caption for photo in found], folder),
        folder,
        Ema(learning(adapter), recipe.train.ema) if recipe.train.ema else None,
        rates,
        plan.steps_of(start),
    )


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
    rates: Mapping[str, Schedule]
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
            if run.previews.due(step, last):
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
    told = explained(error)
    if not isinstance(told, TetradError):
        raise error
    kept = ""
    if step > run.before:
        path = next(run.folder.path.glob(f"{run.folder.result(step).name}*"), None)  # saved on the way, just before
        if path is None:
            result = saved(run, step, run.folder.result(step))
            yield result
            path = result.path
        kept = f"; what was learned by step {step} is kept in {path}, and --continue goes on from it"
    raise TetradError(told.code, f"{told.message}{kept}") from error


def drawn(run: Run, step: int) -> Iterator[Event]:
    with averaged(run):
        yield from run.previews.draw(run.model, step)
    run.model.vae.rest()


def averaged(run: Run) -> AbstractContextManager[None]:
    """Inside, what is learned is its average over the steps, where the recipe keeps one."""
    return run.average.applied(learning(run.adapter)) if run.average else nullcontext()


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
        optimizers.made(settings.optimizer, groups, settings.weight_decay or 0.0),
        seed=settings.seed,
        rates=run.rates,
        first=run.before,
        samples_before=run.batches.samples_before(run.before, settings.gradient_accumulation),
        max_grad_norm=0 if settings.fused_backward else settings.max_grad_norm,
        in_backward=settings.fused_backward,
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
    model = library.load_model(recipe.model, recipe.prediction)
    device.settle(model, place, recipe.method.whole())
    model.reading = recipe.text.reading
    if recipe.loss.zero_terminal_snr:
        model.noise = replace(model.noise, alphas_cumprod=zero_terminal(model.noise.alphas_cumprod))
        model.told = replace(model.told, zero_terminal=model.noise.prediction == "v")
    if model.vae.missing and (path := pictures.vae(recipe, model).path):  # for all that is drawn, not for latents alone
        library.mount(path, model)
    if recipe.text.clip_skip:
        model.condition([""])  # E5012 for a layer that is not there, before anything else is done
    start = library.read(Path(recipe.start).expanduser(), model, recipe.method.writes) if recipe.start else None
    return model, start


def saved(run: Run, step: int, path: Path) -> Saved:
    """Write what was learned by `step`; the file is read back before this returns."""
    with averaged(run):  # to the end, since the weights may be the tensors that learn
        weights = run.adapter.weights()
        weights = library.rounded(weights, run.recipe.save.precision or KINDS[weights.kind].precision)
        weights = replace(weights, metadata={**weights.metadata, "step": str(step)})
        about = metadata(run.recipe, run.model, outcome(run, step, path))
        return Saved(step, library.save(path, weights, run.model, about, run.recipe.save.spelling))


def outcome(run: Run, step: int, path: Path) -> Outcome:
    vae = pictures.vae(run.recipe, run.model).path
    return Outcome(
        name=path.name,
        step=step,
        batches_per_epoch=len(run.batches),
        started=run.started,
        folder=samples_path(run.recipe.data.images).name,
        captions=[photo.caption for photo in run.found],
        class_pictures=sum(sample.prior for sample in run.batches.samples),
        hashes=library.model_hashes(run.recipe.model),
        vae=(vae.name, *library.model_hashes(str(vae))) if vae else ("", "", ""),
        rates={group: str(schedule) for group, schedule in run.rates.items()},
    )
