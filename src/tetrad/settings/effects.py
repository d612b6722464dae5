"""Find the settings of a recipe that were given but have no effect."""

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from tetrad.locales import Message, _
from tetrad.settings.field import Facts, settings_of


def without_effect(recipe: Any, facts: Facts, resolved: Any = None) -> Iterator[Message]:
    """A sentence for each setting that differs from its default but has no effect in this run.

    `facts` must have every key of `field.FACTS` that the settings need. `resolved` is the recipe with the values of a
    file that the run continues from, where they decide what has an effect; it is the recipe itself if not given.
    """
    resolved = resolved or recipe
    method = settings_of(type(recipe.method), "method.") if hasattr(recipe, "method") else ()
    for setting in (*settings_of(type(recipe)), *method):
        if attrgetter(setting.key)(recipe) == setting.default:
            continue
        missing = next((needs for needs in setting.needs if not needs.hold(resolved, facts, setting.key)), None)
        if missing:
            reason = missing.explain(resolved, facts, setting.key)
            yield Message(_("{setting} has no effect: {reason}"), setting=setting.key, reason=reason)
