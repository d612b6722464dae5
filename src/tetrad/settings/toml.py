"""Read a recipe from TOML, strictly, and write one with every setting."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import tomli_w
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from tetrad.documents import parse_toml, read_text_file
from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.methods import METHODS
from tetrad.settings.field import Setting, range_error, replace, section_names, settings_of, settings_of_entries
from tetrad.settings.learning_rate import LearningRate
from tetrad.settings.method import DEFAULT
from tetrad.settings.other_names import MeantSetting, find_meant_setting
from tetrad.settings.recipe import Recipe
from tetrad.settings.values import quote

Section = TypeVar("Section")


def read_values(path: Path) -> dict[str, Any]:
    """The plain values of a recipe file.  E3001 if it is missing or unreadable, E3002 if it is not TOML."""
    try:
        return parse_toml(read_text_file(path))
    except FileNotFoundError as error:
        raise TetradError("E3001", _("the recipe {path} does not exist"), path=path) from error
    except OSError as error:
        raise TetradError(
            "E3001", _("the recipe {path} cannot be read ({reason})"), path=path, reason=error.strerror
        ) from error
    except ValueError as error:
        raise TetradError(
            "E3002", _("the recipe {path} is not valid TOML: {reason}"), path=path, reason=error
        ) from error


def flatten(values: Mapping[str, Any], tables: Set[str] = frozenset(), prefix: str = "") -> dict[str, Any]:
    """Plain values by their whole keys, such as `data.images`; `tables` are settings whose value is itself a table."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        key = prefix + name
        if isinstance(value, Mapping) and key not in tables:
            found |= flatten(value, tables, f"{key}.")
        else:
            found[key] = value
    return found


def assign(values: dict[str, Any], assignment: str) -> None:
    """Put one `section.key=value` into plain values; the value is TOML, or else text.

    True, False and .5, which people write in other languages, are read too. A table sets what is in it, and keeps the
    other settings of its section. E3003 if there is no `=`, or for an empty table in place of a section.
    """
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise TetradError(
            "E3003",
            _("--set {assignment} has no value; write section.key=value, for example train.steps=800"),
            assignment=repr(assignment),
        )
    as_in_toml = text.lower() if text in ("True", "False") else re.sub(r"^([+-]?)(?=\.\d)", r"\g<1>0", text)
    try:
        value = parse_toml(f"value = {as_in_toml}")["value"]
    except ValueError:
        value = text
    key = key.strip()
    example = find_setting_in(key) if isinstance(value, dict) else ""
    if example and not value:
        template = _("--set {assignment} sets nothing, because {key} is a section; name a setting, such as {example}=…")
        raise TetradError("E3003", template, assignment=repr(assignment), key=key, example=example)
    if not example:
        put(values, key, value)
        return
    for name, entry in value.items():
        put(values, f"{key}.{name}", entry)


def find_setting_in(section: str) -> str:
    """The key of a setting in a section of a recipe; "" where there is no such section."""
    settings = all_settings(Recipe, {"method": METHODS[DEFAULT]})
    return next((each.key for each in settings if each.key.startswith(f"{section}.")), "")


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Put a value at `section.key`.  E3101 if a section is a plain value, or the key has too many parts."""
    *sections, last = key.split(".")
    if len(sections) > MAX_DEPTH:
        raise TetradError(
            "E3101",
            _("the setting {setting} does not exist; a name has at most {limit} parts"),
            setting=shorten(key),
            limit=MAX_DEPTH + 1,
        )
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise TetradError(
                "E3101",
                _("the setting {setting} does not exist; {section} is a value, not a section"),
                setting=key,
                section=section,
            )
    values[last] = value


MAX_DEPTH = 8


def build_recipe(values: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values.  E3101: the setting does not exist, E3102: wrong type, E3103: out of range."""
    method = values.get("method", {})
    if not isinstance(method, Mapping):
        raise TetradError("E3102", _("method is {value}, but it must be a section of settings"), value=quote(method))
    kind = method.get("kind", DEFAULT)
    if not isinstance(kind, str) or kind not in METHODS:
        raise range_error("method.kind", kind, Message(_("one of {choices}"), choices=", ".join(METHODS)))
    given = {**values, "method": {"kind": kind, **method}}
    return build_settings(Recipe, given, {"method": METHODS[kind]})


def build_settings(
    schema: type[Section], values: Mapping[str, Any], shapes: Mapping[str, Any] | None = None
) -> Section:
    """Settings of a class from plain values, errors as `build_recipe`.

    `shapes` are the types of sections whose type the class leaves open, such as a recipe's method.
    """
    types = {**get_type_hints(schema), **(shapes or {})}
    kind = getattr(types.get("method"), "kind", "")
    for path, value, known in unknown_keys(values, schema, types):
        meant = find_meant_setting(first_setting_in(path, value), schema, kind)
        raise unknown_key_error(path, known, meant, kind)
    try:
        return TypeAdapter(schema).validate_python(values)
    except ValidationError as error:
        settings = {setting.key: setting for setting in all_settings(schema, types)}
        settings |= {each.key: each for setting in [*settings.values()] for each in settings_of_entries(setting)}
        raise as_tetrad_error(error.errors(include_url=False)[0], settings) from error


def replace_in(section: str, settings: Section, **changes: Any) -> Section:
    """The settings of a section with some values changed, for values from a file; errors as `build_recipe`."""
    try:
        return replace(settings, **changes)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        first["loc"] = (*section.split("."), *first["loc"])
        known = {setting.key: setting for setting in settings_of(type(settings), f"{section}.")}
        raise as_tetrad_error(first, known) from error


def all_settings(schema: Any, types: Mapping[str, Any]) -> Iterator[Setting]:
    """The settings of a class and of the sections whose type it leaves open."""
    yield from settings_of(schema)
    for name, section in types.items():
        if is_dataclass(section) and not is_dataclass(get_type_hints(schema)[name]):
            yield from settings_of(section, f"{name}.")


def _find_near(name: str, sections: Sequence[str], known: Sequence[str], cutoff: float) -> str:
    """The setting of the same section whose name is spelled most like this one, "" for none."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return ".".join([*sections, near[0]]) if near else ""


def unknown_key_error(path: str, known: list[str], meant: MeantSetting | None, kind: str) -> TetradError:
    """E3101, with the setting that was probably meant, or all that exist; `kind` is the recipe's method."""
    if meant and meant.methods and kind not in meant.methods:
        template = _("the method {method} does not have the setting {setting}; {meant} is a setting of {methods}")
        return TetradError(
            "E3101", template, method=kind, setting=path, meant=meant.setting.key, methods=", ".join(meant.methods)
        )
    *sections, name = path.split(".")
    if nearest := (
        _find_near(name, sections, known, 0.85)  # a slip of one letter is likelier than another section
        or (meant.setting.key if meant else _find_near(name, sections, known, 0.5))
    ):
        return TetradError(
            "E3101", _("the setting {setting} does not exist; did you mean {nearest}?"), setting=path, nearest=nearest
        )
    return TetradError(
        "E3101",
        _("the setting {setting} does not exist; it must be one of {known}"),
        setting=path,
        known=", ".join(known),
    )


def first_setting_in(path: str, value: Any) -> str:
    """The key of the first setting in an unknown section; for a setting its own key."""
    while isinstance(value, Mapping) and value:
        name, value = next(iter(value.items()))
        path = f"{path}.{name}"
    return path


def as_tetrad_error(error: ErrorDetails, known: Mapping[str, Setting]) -> TetradError:
    """The first thing that pydantic found wrong, as a TetradError."""
    places, kind, context = error["loc"], error["type"], error.get("ctx", {})
    if places[0] == "method":  # pydantic puts the method's name after it
        places = (places[0], *(place for place in places[1:2] if place not in METHODS), *places[2:])
    names = [str(place) for place in places if not isinstance(place, int)]  # an entry of a list has a number
    key = ".".join(names)
    if kind.startswith("E") and kind[1:].isdigit():  # one of `setting_error`'s
        values = {name: value for name, value in context.items() if name != "template"}
        return TetradError(kind, context["template"], setting=key, **values)
    setting = next((known[".".join(names[:n])] for n in range(len(names), 0, -1) if ".".join(names[:n]) in known), None)
    if kind == "literal_error":
        choices = choices_of(setting) if setting else [context["expected"]]
        return range_error(key, error["input"], Message(_("one of {choices}"), choices=", ".join(choices)))
    if kind in LIMITS and setting and setting.range:
        return range_error(key, error["input"], setting.range, setting.hint)
    found = {"setting": key, "value": quote(error["input"])}
    expected = next((template for start, template in WRONG_TYPES.items() if kind.startswith(start)), None)
    if expected is None:
        return TetradError("E3102", _("{setting} is {value}: {reason}"), reason=error["msg"], **found)
    if isinstance(places[-1], int):
        template = _("an entry of {setting} is {value}, but it must be {expected}")
        return TetradError("E3102", template, expected=Message(expected), **found)
    return TetradError(
        "E3102", _("{setting} is {value}, but it must be {expected}"), expected=Message(expected), **found
    )


LIMITS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number")
WRONG_TYPES = {
    "int": _("a whole number"),
    "float": _("a number"),
    "bool": _("true or false"),
    "string": _("text"),
    "dict": _("a table, written as section.key.name=value"),
    "dataclass": _("a section of settings"),
    "tuple": _("a list"),
    "list": _("a list"),
}


def choices_of(setting: Setting) -> list[str]:
    """The words that a setting may be; "" is none of them, since it only says that the setting is not given."""
    kinds = [each for kind in get_args(setting.type) for each in (get_args(kind) or [kind])]
    return [str(choice) for choice in kinds if choice]


def shorten(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[:limit] + "…"


def unknown_keys(
    values: Mapping[str, Any], schema: Any, types: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, Any, list[str]]]:
    """Each key that a section does not have, its value, and the keys it has; `types` are the types of its fields."""
    known = section_names(schema)
    for key, value in values.items():
        if key not in known and not (key == "kind" and hasattr(schema, "kind")):
            yield path + key, value, known
            continue
        kinds = (types.get(key), *get_args(types.get(key)))
        inner = next((each for each in kinds if hasattr(each, "__pydantic_fields__")), None)
        for each in value if isinstance(value, list | tuple) else [value]:
            if inner and isinstance(each, Mapping):
                yield from unknown_keys(each, inner, get_type_hints(inner), f"{path}{key}.")


def dump_recipe(recipe: Any) -> str:
    """Every setting as TOML, so that the file alone repeats the run; settings without a value are left out."""
    return tomli_w.dumps(as_values(recipe))


def as_values(settings: Any) -> dict[str, Any]:
    """Settings as plain values."""
    values: dict[str, Any] = {"kind": settings.kind} if hasattr(settings, "kind") else {}
    for name in section_names(settings):
        value = getattr(settings, name)
        if isinstance(value, LearningRate):
            value = value.pieces[0][0] if value.is_single_rate else str(value)
        if isinstance(value, tuple):
            value = [as_values(each) if is_dataclass(each) else each for each in value]
        if value is not None:
            values[name] = as_values(value) if is_dataclass(value) else value
    return values
