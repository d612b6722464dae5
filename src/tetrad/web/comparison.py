"""Methods side by side: the recipes that train the same images with each of them, and what their runs have measured."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tetrad.builtin import BUILTIN_NAME, resolve_images_path
from tetrad.builtin.vocabulary import TRIGGER_WORD
from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.methods import METHODS
from tetrad.run.status import read_log
from tetrad.run.words import read_number
from tetrad.settings import Recipe
from tetrad.sizes import format_memory, format_size
from tetrad.web.drafts import Draft
from tetrad.web.figures import format_duration, format_speed
from tetrad.web.picks import measure
from tetrad.web.planning import Planning
from tetrad.web.preparation import Preparation, parse_options
from tetrad.web.run_view import describe_method
from tetrad.web.runs import Snapshot, read_tail
from tetrad.web.settings_form import keep_known

MIN_RUNS, MAX_RUNS = 2, 4
# The built-in images with what they show, as `drafts` names it.
SAMPLE_SETS = {"builtin:subject": "object", "builtin:person": "person", "builtin:style": "style"}


@dataclass(frozen=True)
class Planned:
    """The recipes that fit this computer, and a sentence for each method that does not."""

    recipes: tuple[Recipe, ...]
    left_out: tuple[Message, ...]


def draft_samples(images: str) -> tuple[Draft, int]:
    """Built-in images with the built-in model, and how many they are.  E4001 for other images."""
    if images not in SAMPLE_SETS:
        raise TetradError("E4001", _("there are no built-in images called {name}"), name=images)
    draft = Draft("", images=images, goal=SAMPLE_SETS[images], trigger_word=TRIGGER_WORD, model=BUILTIN_NAME)
    return draft, len(list(resolve_images_path(images).glob("*.png")))


def plan_samples(images: str, runs: Path) -> Planned:
    """A balanced training of the built-in model with each method, which fits everywhere.  E4001 for other images."""
    draft, count = draft_samples(images)
    return Planned(tuple(_name(replace(draft, method=each).make_recipe(count, runs)) for each in METHODS), ())


async def estimate_samples(planning: Planning, images: str) -> dict[str, Any]:
    """What `Preparation.compare` says, for built-in images.  E4001 for other images."""
    draft, count = draft_samples(images)
    return await planning.compare_methods(images, draft.goal, draft.model, trigger_word=TRIGGER_WORD, count=count)


def describe_estimates(compared: Mapping[str, Any]) -> dict[str, Any]:
    """What each training takes, and those that fit together."""
    methods = [
        {
            "title": describe_method(each["method"]),
            "time": format_duration(each["seconds"]),
            "file": format_size(each["file_bytes"]),
            "memory": format_memory(each["memory_bytes"]),
            "fits": each["fits"],
        }
        for each in compared["methods"]
    ]
    seconds = [each["seconds"] for each in compared["methods"] if each["fits"]]
    free = format_memory(compared["free_memory_bytes"])
    return {"methods": methods, "count": len(seconds), "time": format_duration(sum(seconds)), "free_memory": free}


async def plan_methods(preparation: Preparation, draft: Draft) -> Planned:
    """A balanced training of a settled draft with each method that fits.  E6001 where none does."""
    compared = await preparation.compare(draft)
    recipes, left_out = [], []
    for found in compared["methods"]:
        if not found["fits"]:
            template = _("{method} is left out: it needs {needed} of memory, and {free} is free.")
            needed, free = found["memory_bytes"], compared["free_memory_bytes"]
            sizes = {"needed": format_memory(needed), "free": format_memory(free)}
            sentence = Message(template, method=describe_method(found["method"]), **sizes)
            left_out.append(sentence)
            continue
        settings = keep_known(found["method"], {**parse_options(found["options"]), **draft.settings})[0]
        own = replace(draft, method=found["method"], settings=settings, quality="balanced")
        recipes.append(_name(await preparation.make_recipe(own)))
    if not recipes:
        raise TetradError("E6001", sentence)
    return Planned(tuple(recipes), tuple(left_out))


def _name(recipe: Recipe) -> Recipe:
    """The recipe with a run that is called like its word and its method."""
    name = f"{recipe.data.trigger_word}-{recipe.method.kind}"
    return replace(recipe, save=replace(recipe.save, name=name))


def key_of(plan: Mapping[str, Any]) -> tuple[str, str]:
    """What runs have in common that can be compared: the images, and the base model."""
    data, model = plan.get("data"), plan.get("model", "")
    images = data.get("images", "") if isinstance(data, Mapping) else ""
    return str(images), str(model.get("path", "") if isinstance(model, Mapping) else model)


def is_comparable(run: Snapshot) -> bool:
    return run.status.method in METHODS


def describe_figures(run: Snapshot, file: Path | None) -> list[dict[str, str]]:
    """What was measured of a run and its newest file, in a fixed order; "–" for what is not known yet."""
    seconds, memory, pace = measure_time(run.status.path), measure_memory(run.status.path), run.pace.seconds_per_step
    status, per_epoch = run.status, run.plan_value("train.steps_per_epoch", 0.0)
    repeats = run.plan_value("train.repeats", 0) / max(1, run.plan_value("train.images", 0))
    steps = Message(_("{step:,} of {steps:,}"), step=status.step, steps=status.steps)
    values = {
        Message(_("File size")): format_size(measure(file)) if file else "",
        Message(_("Training time")): format_duration(seconds) if seconds else "",
        Message(_("Memory, at most")): format_memory(memory) if memory else "",
        Message(_("Steps")): f"{status.steps:,}" if 0 < status.steps <= status.step else str(steps),
        Message(_("Views per image")): f"{status.step / per_epoch * repeats:.0f}" if per_epoch > 0 and repeats else "",
        Message(_("Speed")): format_speed(pace) if pace else "",
    }
    return [{"label": str(label), "value": value or "–"} for label, value in values.items()]


def measure_time(run: Path) -> float:
    """The seconds that the processes of a run have worked, previews and loading included; 0 where it is not known."""
    return sum(end - start for start, end in _list_spans(run / "events.jsonl"))


def _list_spans(events: Path) -> Iterator[tuple[float, float]]:
    """The first and the last sign of each process that worked on a run."""
    start = last = 0.0
    for record in read_log(events) if events.is_file() else ():
        time = read_number(record, "time")
        if record.get("event") == "started":
            yield start, last
            start = time
        start = start or time
        last = max(start, time)
    yield start, last


def measure_memory(run: Path) -> int:
    """The most bytes that the process which finished a run has held; 0 where it was not measured."""
    finished = [record for record in read_tail(run / "events.jsonl") if record.get("event") == "finished"]
    return int(read_number(finished[-1], "peak_memory")) if finished else 0
