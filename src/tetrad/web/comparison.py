"""Methods side by side: the recipes that train the same images with each of them, and what their runs have measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tetrad.builtin import BUILTIN_NAME, resolve_images_path
from tetrad.builtin.vocabulary import TRIGGER_WORD
from tetrad.contest.answer import RULE, find_answer
from tetrad.contest.figures import COMPARED, MEASURED, Result, format_duration, name_figure
from tetrad.contest.figures import describe_figures as describe
from tetrad.contest.wish import SAMPLE_GOALS
from tetrad.errors import TetradError
from tetrad.locales import Message, _, translate
from tetrad.methods import METHODS
from tetrad.settings import Recipe
from tetrad.sizes import format_memory, format_size
from tetrad.web.drafts import Draft
from tetrad.web.figures import format_speed
from tetrad.web.planning import Planning
from tetrad.web.preparation import Preparation, parse_options
from tetrad.web.run_view import describe_method
from tetrad.web.runs import Snapshot
from tetrad.web.settings_form import keep_known

MIN_RUNS, MAX_RUNS = 2, 4


@dataclass(frozen=True)
class Planned:
    """The recipes that fit this computer, and a sentence for each method that does not."""

    recipes: tuple[Recipe, ...]
    left_out: tuple[Message, ...]


def draft_samples(images: str) -> tuple[Draft, int]:
    """Built-in images with the built-in model, and how many they are.  E4001 for other images."""
    if images not in SAMPLE_GOALS:
        raise TetradError("E4001", _("there are no built-in images called {name}"), name=images)
    draft = Draft("", images=images, goal=SAMPLE_GOALS[images], trigger_word=TRIGGER_WORD, model=BUILTIN_NAME)
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
    """The recipe with a run that is called like its word and its method.

    Without previews, unless they were asked for: they would take time, and the files are compared by other images.
    """
    name = f"{recipe.data.trigger_word}-{recipe.method.kind}"
    every = recipe.sample.every or (0 if recipe.sample.every_epochs or recipe.sample.every_minutes else -1)
    return replace(recipe, save=replace(recipe.save, name=name), sample=replace(recipe.sample, every=every))


def key_of(plan: Mapping[str, Any]) -> tuple[str, str]:
    """What runs have in common that can be compared: the images, and the base model."""
    data, model = plan.get("data"), plan.get("model", "")
    images = data.get("images", "") if isinstance(data, Mapping) else ""
    return str(images), str(model.get("path", "") if isinstance(model, Mapping) else model)


def is_comparable(run: Snapshot) -> bool:
    return run.status.method in METHODS


def describe_figures(run: Snapshot, result: Result) -> list[dict[str, str]]:
    """What was measured of a run and its newest file, in a fixed order; "–" for what is not known yet.

    Scores, which only a judged file has, come last and are left out where there are none.
    """
    values, pace = describe(result), run.pace.seconds_per_step
    shown = {name_figure(name): values.get(name, "–") for name in MEASURED}
    shown[str(Message(_("Speed")))] = format_speed(pace) if pace else "–"
    shown |= {name_figure(name): values[name] for name in COMPARED if name in values}
    return [{"label": label, "value": value} for label, value in shown.items()]


def describe_answer(results: Sequence[Result]) -> dict[str, str]:
    """Which of the methods to use and by which rule, where all of them were judged; else empty."""
    answer = find_answer(results) if all("likeness" in each.scores for each in results) else None
    if answer is None:
        return {}
    sentence = Message(_("Which method? {answer}"), answer=answer.reason)
    return {"method": answer.pick.method if answer.pick else "", "sentence": str(sentence), "rule": translate(RULE)}
