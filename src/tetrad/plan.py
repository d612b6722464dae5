"""What a recipe leaves open, decided: by the pictures, the method, the model and what it goes on from."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from tetrad import library
from tetrad.builtin import samples_path
from tetrad.errors import TetradError, naming
from tetrad.formats import files
from tetrad.kinds import KINDS
from tetrad.methods.base import part_and_pace
from tetrad.models.base import Model, device_of
from tetrad.previews import chosen
from tetrad.recipe import Recipe, Train
from tetrad.training.folder import file_name
from tetrad.training.schedules import Schedule, scheduled
from tetrad.weights import Weights

RESULTS = (".safetensors", ".pt")
SMALL = 128  # pixels; up to it a picture is cheap to learn from and to draw, on any machine


def begun(recipe: Recipe) -> Recipe:
    """The recipe with the file that it goes on from, where that is a run's folder, and with its model.

    That is the file itself, where it is a whole checkpoint and no other model is named beside it.
    """
    recipe = replace(recipe, start=result(recipe.start)) if recipe.start else recipe
    whole = recipe.start and KINDS[recipe.method.writes].whole
    return replace(recipe, model=recipe.start) if whole and recipe.model == Recipe.model else recipe


def result(start: str) -> str:
    """What a run came to so far, where its folder is given; else the path as it is.  E5162 where it saved nothing."""
    folder = Path(start).expanduser()
    if not (folder / "recipe.toml").is_file():
        return start
    saved = [path for path in folder.iterdir() if path.suffix in RESULTS or (path / "unet").is_dir()]
    if not saved:
        raise TetradError("E5162", f"the run {folder} saved nothing that training could go on from")
    return str(max(saved, key=lambda path: ("-step" not in path.stem, path.stem)))


def worded(recipe: Recipe) -> Recipe:
    """The recipe with a word where what is learned is one: that of the file it goes on from, where none is given.

    E3111 where nothing says it.
    """
    if recipe.data.word or not KINDS[recipe.method.writes].needs_word:
        return recipe
    if not recipe.start:
        raise TetradError("E3111", "Textual Inversion teaches a new word; give it with --word, like --word zkr")
    path = Path(recipe.start).expanduser()
    word = files.read(path).metadata.get("modelspec.trigger_phrase") or path.stem
    return replace(recipe, data=replace(recipe.data, word=word))


def named(recipe: Recipe, images: int) -> Recipe:
    """The recipe with its name, and with the method's settings decided by how many pictures there are."""
    name = recipe.save.name or file_name(recipe.data.word or samples_path(recipe.data.images).stem)
    # What it goes on from has decided the rest already.
    method = recipe.method.decided(recipe.data.word, 0 if recipe.start else images)
    return replace(recipe, method=method, save=replace(recipe.save, name=name))


def settled(recipe: Recipe, model: Model, captions: list[str], start: Weights | None) -> Recipe:
    """The recipe with nothing left open, given what each picture is called and what the run goes on from."""
    data, train = recipe.data, recipe.train
    resolution = data.resolution or model.resolution
    small = resolution <= SMALL
    before = steps_of(start)
    steps = train.steps or before + recipe.method.steps(len(captions))
    if steps <= before:
        raise TetradError(
            "E3153",
            f"{recipe.start} has learned for {before} steps already, and train.steps is {steps}; steps are counted "
            f"from the very first, so give more than {before}",
        )
    decay = KINDS[recipe.method.writes].weight_decay if train.weight_decay is None else train.weight_decay
    check_spelling(recipe)
    with naming(Path(recipe.start)):
        method = recipe.method.going_on(start) if start else recipe.method
    face = getattr(recipe.method, "subject", "") == "face"
    every = recipe.sample.every or (-(-(steps - before) // 4) if small or device_of(model).type != "cpu" else -1)
    return replace(
        recipe,
        data=replace(data, resolution=resolution),
        method=method,
        train=replace(
            train,
            steps=steps,
            batch_size=train.batch_size or (4 if small else 1),
            weight_decay=decay,
            learning_rate=recipe.method.rates()[""] if train.learning_rate == "" else train.learning_rate,
            max_grad_norm=0.0 if train.fused_backward else train.max_grad_norm,
        ),
        sample=replace(chosen(recipe.sample, data, captions, face), every=every),
    )


def check_spelling(recipe: Recipe) -> None:
    """E3154 where nobody writes this kind of file so."""
    known = library.SPELLINGS.get(recipe.method.writes, {})
    if recipe.save.spelling not in ("", *known):
        raise TetradError(
            "E3154", f"save.spelling must be one of {', '.join(known)} here; it is {recipe.save.spelling!r}"
        )


def steps_of(start: Weights | None) -> int:
    """How many steps something learned says it took; 0 where it does not say."""
    about = start.metadata if start else {}
    said = about.get("step") or about.get("ss_steps") or "0"
    return int(said) if said.isdigit() else 0


def rates(train: Train, usual: Mapping[str, str], groups: Iterable[str], texts: Collection[str]) -> dict[str, Schedule]:
    """The learning rate of each group that learns, its own pace included.

    It is the recipe's own, or else the method's usual one. Where the recipe gives one rate for all, a part that
    usually learns at half the rate does so still. What belongs to a text encoder rests after its share of the steps.
    """
    found = {}
    for group in groups:
        part, pace = part_and_pace(group)
        text, own, base = part in texts, usual.get(part, usual[""]), usual.get("", "")
        if text and train.text_encoder_learning_rate != "":
            schedule = shaped(train, train.text_encoder_learning_rate)
        elif train.learning_rate != "":
            schedule = slowed(shaped(train, train.learning_rate), ratio(own, base))
        else:
            schedule = shaped(train, own)
        schedule = slowed(schedule, pace)
        found[group] = schedule.until(round(train.text_encoder_share * train.steps)) if text else schedule
    return found


def shaped(train: Train, rate: float | str) -> Schedule:
    return scheduled(rate, train.shape)


def slowed(schedule: Schedule, by: float) -> Schedule:
    return replace(schedule, pieces=tuple((rate * by, bound) for rate, bound in schedule.pieces))


def ratio(own: str, base: str) -> float:
    """One usual rate over another; 1 where either is a schedule, which has no one rate."""
    try:
        return float(own) / float(base)
    except ValueError:
        return 1.0


def check_learning(found: Mapping[str, Schedule], before: int, steps: int) -> None:
    """E3135 where from some step on nothing learns any more."""
    if all(schedule.rests(steps) for schedule in found.values()):
        first = next(step for step in range(before + 1, steps + 1) if all(rate.rests(step) for rate in found.values()))
        advice = f"end the run there with --steps {first - 1}, or give one" if first > before + 1 else "give one"
        why = "every learning rate is 0, or its share of the steps is over"
        raise TetradError("E3135", f"nothing learns from step {first} on: {why}; {advice} that lasts")
