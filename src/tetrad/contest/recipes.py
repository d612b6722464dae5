"""A recipe for each method, from the recommendation for these images, with the same budget for all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tetrad import library
from tetrad.contest.wish import Budget, Wish
from tetrad.data.discover.layouts import Listing
from tetrad.estimate import recommend as advice
from tetrad.estimate.recommend import MethodEstimate
from tetrad.locales import Message, _
from tetrad.methods import METHODS
from tetrad.methods.advice import parse_goal
from tetrad.models.device import get_free_memory
from tetrad.run.continuation import locate_start
from tetrad.run.dataset import find_images
from tetrad.run.planned_run import FreshSources, plan_run, read_dataset
from tetrad.run.precision import select_training_device
from tetrad.run.rehearsal import rehearse
from tetrad.settings import Data, Recipe, build_recipe
from tetrad.settings.field import replace as replace_settings
from tetrad.settings.field import section_names
from tetrad.settings.toml import assign, put
from tetrad.sizes import format_memory


@dataclass(frozen=True)
class Planned:
    """The recipes by method, what their budget is, and a sentence for each method that does not fit into memory."""

    recipes: Mapping[str, Recipe]
    budget: Budget
    trigger_word: str
    left_out: tuple[Message, ...]


def make_recipes(wish: Wish, out: Path, methods: Sequence[str]) -> Planned:
    """The recipes of some of the methods of a wish; runs go to `out`.

    Every training has the same number of steps and the same batch size, and so sees equally many images; or it has the
    steps that fit into the same time, by the pace of its first steps.
    """
    listing = find_images(Data(images=wish.images, class_word=wish.class_word), "", False)
    word = advice.suggest_trigger_word(listing, wish.trigger_word)
    wish = replace(wish, trigger_word=word)
    device = select_training_device(wish.device, "auto", wish.model)
    limit = get_free_memory(device.device)
    model = library.load_model(wish.model)
    found = advice.estimate_methods(
        model, len(listing), wish.goal, device, limit, trigger_word=word, class_word=wish.class_word
    )
    estimates = {each.method: each for each in found}
    budget = wish.budget
    if budget == Budget():
        budget = Budget(advice.choose_method(estimates, wish.goal)[0].steps)
    fitting = [name for name in methods if estimates[name].fits]
    recipes = {name: _make_recipe(wish, estimates[name], budget.steps, listing, out) for name in fitting}
    if budget.seconds:
        recipes = {name: _fill_time(recipe, budget.seconds) for name, recipe in recipes.items()}
    left_out = tuple(_explain(estimates[name], limit) for name in methods if name not in fitting)
    return Planned(recipes, budget, word, left_out)


def _make_recipe(wish: Wish, estimate: MethodEstimate, steps: int, listing: Listing, out: Path) -> Recipe:
    """The recipe of one method; no previews, since all files are judged by the same images afterwards."""
    values: dict[str, Any] = {}
    goal, kind = parse_goal(wish.goal), estimate.method
    has_captions = any(advice.read_captions(listing))
    chosen = {
        "model": wish.model,
        "data.images": wish.images,
        "data.trigger_word": wish.trigger_word,
        "data.class_word": wish.class_word or None,
        "data.template": "style" if goal.parts == ("style",) and not has_captions else None,
        "method.kind": kind,
        **{f"method.{name}": value for name, value in METHODS[kind].advice.settings_for(goal).items()},
        "train.steps": steps or None,
        "train.device": wish.device,
        "sample.every": -1,
        "save.out": str(out),
        "save.name": f"{wish.trigger_word}-{kind}",
    }
    for key, value in chosen.items():
        if value is not None:
            put(values, key, value)
    options = (flag.removeprefix("--set ") for flag in estimate.memory_options.flags)
    for assignment in (*options, *_list_settings_for(kind, wish.settings)):
        assign(values, assignment)
    return build_recipe(values)


def _list_settings_for(kind: str, assignments: Sequence[str]) -> Iterator[str]:
    """The settings that a method has; one of `method` counts for the methods that have it, and any without is wrong."""
    known = {name for method in METHODS.values() for name in section_names(method)}
    for assignment in assignments:
        section, _dot, name = assignment.partition("=")[0].strip().partition(".")
        if section != "method" or name in section_names(METHODS[kind]) or name not in known:
            yield assignment


def _fill_time(recipe: Recipe, seconds: float) -> Recipe:
    """The recipe with as many steps as fit into the time, at the pace that the first three steps have."""
    located = locate_start(recipe)
    planned = plan_run(located, read_dataset(located), FreshSources())
    steps = max(1, int(seconds / rehearse(recipe, planned).step_seconds))
    return replace_settings(recipe, train=replace_settings(recipe.train, steps=steps))


def _explain(estimate: MethodEstimate, limit: int) -> Message:
    template = _("{method} is left out: it needs {needed} of memory, and {free} is free.")
    sizes = {"needed": format_memory(estimate.memory_bytes), "free": format_memory(limit)}
    return Message(template, method=Message(METHODS[estimate.method].artifact.noun), **sizes)
