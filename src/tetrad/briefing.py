"""What a person should know before a run begins: what is about to be learned, what it takes, what has no effect."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from tetrad.data.priors import Prior
from tetrad.kinds import KINDS
from tetrad.methods.base import part_and_pace
from tetrad.models.base import Model
from tetrad.recipe import Recipe, Train
from tetrad.training import device
from tetrad.training.dry_step import dry_step
from tetrad.training.events import Note
from tetrad.training.memory import SINGLE, cheapest, human, memory
from tetrad.training.schedules import ENDS_EARLY, Schedule, is_plain

NO_EFFECT, ONLY_FOR_V, TOO_LITTLE = "W3132", "W3133", "W6001"


def notes(recipe: Recipe, model: Model, rates: Mapping[str, Schedule], before: int, file: str) -> Iterator[Note]:
    """One line on what is about to be learned in a file of that name, then what a person may have meant otherwise."""
    yield Note(told(recipe))
    word = recipe.data.word
    if KINDS[recipe.method.writes].needs_word and file != word:
        yield Note(f"prompts say {file}, not {word}: programs take a word from its file's name, so rename the file")
    # Parts that follow one schedule at rates of their own end together, and one of them is enough to say so.
    ends = {rate.end: rate.warnings(recipe.train.steps, before) for rate in reversed(list(rates.values()))}
    yield from (Note(warning, ENDS_EARLY) for warnings in ends.values() for warning in warnings)
    texts = [text.name for text in model.texts]
    yield from (Note(sentence, NO_EFFECT) for sentence in without_effect(recipe, rates, texts))
    if recipe.loss.zero_terminal_snr and model.noise.prediction == "epsilon":
        what = "which says nothing of a picture where there is only noise"
        yield Note(f"{model.name} predicts ε, {what}; loss.zero_terminal_snr is meant for models of v", ONLY_FOR_V)


def read(model: Model) -> str:
    """What the model was taken for, since one that is taken for another learns nonsense."""
    predicts = {"epsilon": "ε", "v": "v"}[model.told.prediction]
    return f"{model.name} is {model.title}, of {model.resolution} pixels, and predicts {predicts}: {model.told.why}"


def begun(start: str, before: int) -> str:
    """What it goes on from."""
    said = (
        f"learned for {before} step{'s' * (before != 1)}"
        if before
        else "does not say for how long it learned, so steps count from 1"
    )
    return f"goes on from {start}, which {said}"


def of_class(prior: Prior, number: int) -> Iterator[Note]:
    """Settings of class pictures where there are none."""
    for name in ("weight", "prompt") if not number else ():
        if getattr(prior, name) != getattr(Prior, name):
            yield Note(f"data.prior.{name} has no effect: there are no class pictures; --class-images 100", NO_EFFECT)


def told(recipe: Recipe) -> str:
    train, method = recipe.train, recipe.method
    batch = f"{train.batch_size}" + f" × {train.gradient_accumulation}" * (train.gradient_accumulation > 1)
    about = ", ".join(filter(None, [method.told(), f"to step {train.steps}"]))
    pictures = "picture" if batch == "1" else "pictures"
    return f"{method.kind}: {about}, {batch} {pictures} a step, learning rate {train.learning_rate}"


def without_effect(recipe: Recipe, rates: Mapping[str, Schedule], texts: Collection[str]) -> Iterator[str]:
    """A sentence for each setting that was given and does nothing."""

    def given(*names: str) -> list[str]:
        return [name for name in names if getattr(recipe.train, name) != getattr(Train, name)]

    if not any(part_and_pace(group)[0] in texts for group in rates):
        for name in given("text_encoder_share", "text_encoder_learning_rate"):
            yield f"train.{name} has no effect: no text encoder learns in this run"
    if not is_plain(recipe.train.learning_rate):
        for name in given("schedule", "warmup_steps"):
            yield f"train.{name} has no effect beside a learning rate that gives its own steps"


def fitted(recipe: Recipe, model: Model, place: device.Device) -> tuple[Recipe, list[Note]]:
    """The recipe with gradient checkpointing decided by the memory there is, and what to say of it.

    A small model needs so little that counting it would take longer than it is worth.
    """
    train, side = recipe.train, recipe.data.resolution
    if device.parameters(model) < device.SMALL:
        return replace(recipe, train=replace(train, gradient_checkpointing=bool(train.gradient_checkpointing))), []
    step = dry_step(model, recipe.method, side, side, train.batch_size)
    there = device.free(place.device)
    average = SINGLE * sum(shape.numel() for shape in step.learned) if train.ema else 0

    def needed(checkpointed: bool) -> int:
        settings = {"in_backward": train.fused_backward, "checkpointed": checkpointed}
        return memory(step, place.device, place.dtype, train.optimizer, **settings).total + average

    asked = train.gradient_checkpointing
    checkpointed = 0 < there < needed(False) if asked is None else asked
    of = f" of the {human(there)} there are" if there else ""
    found = [f"a step is estimated to take {human(needed(checkpointed))} of memory{of} on {place.device}"]
    if checkpointed and asked is None:
        found.append("gradient checkpointing is turned on for it, a third more time for less memory")
    recipe = replace(recipe, train=replace(train, gradient_checkpointing=checkpointed))
    if not 0 < there < needed(checkpointed):
        return recipe, [Note("; ".join(found))]
    savers, least = cheapest(step, place.device, place.dtype, max(1, there - average))
    found.append(f"it may run out; {' '.join(savers.flags)} takes {human(least)}, a smaller batch or resolution less")
    return recipe, [Note("; ".join(found), TOO_LITTLE)]
