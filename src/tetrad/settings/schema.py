"""The JSON schema of a recipe, for forms and editors."""

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from tetrad.locales import _, translate
from tetrad.methods import METHODS
from tetrad.settings.field import FACTS, Needs, settings_of
from tetrad.settings.method import DEFAULT
from tetrad.settings.recipe import Recipe

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# What a form calls each group of settings.
GROUPS = {
    "model": _("Model"),
    "data": _("Images"),
    "captions": _("Captions"),
    "class images": _("Class images"),
    "method": _("Method"),
    "training": _("Training"),
    "loss": _("Loss and noise"),
    "memory": _("Device and memory"),
    "previews": _("Previews"),
    "judging": _("Judging"),
    "saving": _("Saving"),
}


def json_schema(schema: Any = Recipe, title: str = _("Tetrad recipe")) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a recipe; texts for people are in the reader's language.

    Each setting has its `default`, range, `enum` of choices, `description` and `group`, and where they exist `kohya`,
    `flag`, `hint` (a typical value) and `matters_when`. That lists the conditions for the setting to have an effect:
    the `values` of another `setting` (any but 0, false, "" and null if none are listed), a `fact` of the run, or a
    `property` of a section; and the `reason` why the setting has no effect otherwise. `groups` has the groups' titles.
    """
    made: dict[str, Any] = describe(TypeAdapter(schema).json_schema())
    for section in (made, *made.get("$defs", {}).values()):
        section.pop("description", None)  # the class's docstring, which is for programmers
        kind = section.get("properties", {}).get("kind", {}).get("const", DEFAULT)
        if kind != DEFAULT:  # a method without a kind is the default one
            section["required"] = ["kind", *section.get("required", ())]
    groups = {name: translate(label) for name, label in GROUPS.items()}
    return {"$schema": DIALECT, **made, "title": translate(title), "groups": groups}


def describe(node: Any) -> Any:
    """A part of the schema with its texts translated and its conditions as plain values."""
    if isinstance(node, list):
        return [describe(item) for item in node]
    if not isinstance(node, dict):
        return node
    described = {
        key: translate(value) if key in ("description", "hint") and isinstance(value, str) else describe(value)
        for key, value in node.items()
    }
    if conditions := node.get("matters_when"):  # pydantic has made plain values of them
        described["matters_when"] = [
            describe_condition(Needs(each["key"], tuple(each["values"]), each["because"])) for each in conditions
        ]
    return described


def describe_condition(needs: Needs) -> dict[str, Any]:
    """What a setting needs to have an effect, as plain values."""
    kind = "fact" if needs.key in FACTS else "setting" if needs.key in setting_keys() else "property"
    values = {"values": list(needs.values)} if needs.values else {}
    return {kind: needs.key, **values, "reason": str(needs.reason)}


@cache
def setting_keys() -> frozenset[str]:
    """The keys of all settings of a recipe, whatever its method."""
    methods = (setting.key for method in METHODS.values() for setting in settings_of(method, "method."))
    return frozenset((*(setting.key for setting in settings_of(Recipe)), *methods))
