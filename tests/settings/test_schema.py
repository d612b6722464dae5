"""The JSON schema has what a form needs for every setting, and accepts the same recipes as Tetrad."""

import json
from collections.abc import Iterator
from gettext import NullTranslations
from typing import Any, Literal, get_args, get_origin

import pytest
from jsonschema import Draft202012Validator

from tetrad.errors import TetradError
from tetrad.methods import METHODS
from tetrad.settings import Recipe, build_recipe, json_schema
from tetrad.settings.field import FACTS, Setting, section_names, settings_of
from tetrad.settings.learning_rate import LearningRate
from tetrad.settings.samplers import SAMPLERS
from tetrad.settings.toml import as_values

SCHEMA = json_schema()
KEYS = {setting.key for setting in settings_of(Recipe)}
KEYS |= {setting.key for method in METHODS.values() for setting in settings_of(method, "method.")}
# The limits, as pydantic and as JSON Schema name them.
LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def section(path: list[str], kind: str = "") -> dict[str, Any]:
    """The part of the schema that describes a section; for `method` the settings of one method."""
    node: dict[str, Any] = SCHEMA
    for name in path:
        node = node["properties"][name]
        reference = node["discriminator"]["mapping"][kind] if "discriminator" in node else node["$ref"]
        node = SCHEMA["$defs"][reference.rpartition("/")[2]]
    return node


def every_setting() -> Iterator[Any]:
    for setting in settings_of(Recipe):
        yield pytest.param(setting, "", id=setting.key)
    for kind, method in METHODS.items():
        for setting in settings_of(method, "method."):
            yield pytest.param(setting, kind, id=f"{kind} {setting.key}")


def property_of(setting: Setting, kind: str) -> dict[str, Any]:
    *path, name = setting.key.split(".")
    found: dict[str, Any] = section(path, kind)["properties"][name]
    return found


def test_it_is_a_json_schema_of_draft_2020_12() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"] and SCHEMA["title"] == "Tetrad recipe"
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_every_group_has_a_title() -> None:
    groups = {setting.group for setting in settings_of(Recipe)} | {"method"}
    assert groups == set(SCHEMA["groups"]) and all(SCHEMA["groups"].values())


@pytest.mark.parametrize("setting,kind", list(every_setting()))
def test_every_setting_has_a_description_a_group_and_a_valid_default(setting: Setting, kind: str) -> None:
    node = property_of(setting, kind)
    assert node["description"] == setting.help and setting.help[-1] not in ".;,"
    assert node["group"] == setting.group
    assert node["default"] == json.loads(json.dumps(setting.default))
    assert Draft202012Validator({**node, "$defs": SCHEMA["$defs"]}).is_valid(node["default"])


@pytest.mark.parametrize("setting,kind", list(every_setting()))
def test_every_setting_has_its_range(setting: Setting, kind: str) -> None:
    node = property_of(setting, kind)
    choices = node.get("anyOf", [node.get("additionalProperties") or node.get("items") or node])
    number = next((each for each in choices if each.get("type") in ("integer", "number")), {})
    for limit, keyword in LIMITS.items():
        if limit in setting.limits:
            assert number[keyword] == setting.limits[limit]
    if number and "enum" not in number and not any("items" in each for each in choices):
        assert {"minimum", "exclusiveMinimum"} & number.keys() and {"maximum", "exclusiveMaximum"} & number.keys()


@pytest.mark.parametrize("path", [[], ["data"], ["data", "captions"], ["data", "class_images"], ["text"], ["train"],
                                  ["loss"], ["save"], ["sample"]])  # fmt: skip
def test_a_section_has_all_its_settings_and_nothing_else(path: list[str]) -> None:
    found: Any = Recipe()
    for name in path:
        found = getattr(found, name)
    assert list(section(path)["properties"]) == section_names(type(found))
    assert section(path)["additionalProperties"] is False


@pytest.mark.parametrize("kind", list(METHODS))
def test_a_method_has_all_its_settings_and_no_field_that_only_programs_set(kind: str) -> None:
    assert list(section(["method"], kind)["properties"]) == ["kind", *section_names(METHODS[kind])]


@pytest.mark.parametrize("setting,kind", list(every_setting()))
def test_every_choice_is_in_it(setting: Setting, kind: str) -> None:
    node = property_of(setting, kind)
    if get_origin(setting.type) is Literal:
        choices = node.get("anyOf", [node])[0]
        assert choices.get("enum", [choices.get("const")]) == list(get_args(setting.type))


def test_the_samplers_are_choices() -> None:
    assert section(["sample"])["properties"]["sampler"]["anyOf"][0]["enum"] == list(SAMPLERS)


@pytest.mark.parametrize("setting,kind", list(every_setting()))
def test_every_setting_says_when_it_matters(setting: Setting, kind: str) -> None:
    conditions = property_of(setting, kind).get("matters_when", [])
    assert [each["reason"] for each in conditions] == [str(needs.reason) for needs in setting.needs]
    for each, needs in zip(conditions, setting.needs, strict=True):
        subject = next(iter(each))
        assert each[subject] == needs.key and each.get("values", []) == list(needs.values)
        assert subject == ("fact" if needs.key in FACTS else "setting" if needs.key in KEYS else "property")


def test_texts_are_in_the_readers_language(monkeypatch: pytest.MonkeyPatch) -> None:
    class Marked(NullTranslations):
        def gettext(self, message: str) -> str:
            return f"» {message}"

    monkeypatch.setattr("tetrad.locales.catalogue", lambda name: Marked())
    schema = json_schema()
    huber = schema["$defs"]["Loss"]["properties"]["huber_c"]
    assert schema["title"] == "» Tetrad recipe" and schema["groups"]["loss"] == "» Loss and noise"
    assert huber["description"].startswith("» ")
    assert huber["matters_when"][0]["reason"].startswith("» it needs loss.type")
    assert huber["group"] == "loss" and huber["matters_when"][0]["setting"] == "loss.type"


@pytest.mark.parametrize("kind", list(METHODS))
def test_a_default_recipe_is_valid(kind: str) -> None:
    values = as_values(build_recipe({"method": {"kind": kind}}))
    Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(values)))


@pytest.mark.parametrize("kind", list(METHODS))
def test_a_written_recipe_is_valid(kind: str) -> None:
    values = as_values(build_recipe({"method": {"kind": kind}, "train": {"learning_rate": "0.05:10, 0.02"}}))
    Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(values)))


@pytest.mark.parametrize(
    "values",
    [
        {"train": {"steps": -1}},
        {"train": {"stpes": 1}},
        {"train": {"epochs": "many"}},
        {"data": {"repeats": 0}},
        {"train": {"steps": True}},
        {"method": {"kind": "lora", "rank": 0}},
        {"method": {"kind": "lora", "block_ranks": {"up": 5000}}},
        {"sample": {"prompts": [5]}},
        {"sample": {"sampler": "none"}},
        {"method": {"kind": "lokr"}},
        {"loss": {"type": "l3"}},
    ],
)
def test_a_wrong_recipe_is_not_valid_and_not_built(values: dict[str, Any]) -> None:
    assert not Draft202012Validator(SCHEMA).is_valid(values)
    with pytest.raises(TetradError):
        build_recipe(values)


def test_a_learning_rate_may_be_a_number_or_a_schedule() -> None:
    node = section(["train"])["properties"]["learning_rate"]
    assert [each["type"] for each in node["anyOf"]] == ["number", "string", "null"]
    assert isinstance(build_recipe({"train": {"learning_rate": 1e-4}}).train.learning_rate, LearningRate)
