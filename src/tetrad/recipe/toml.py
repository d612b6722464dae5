"""Between a recipe and a TOML file: read strictly, written whole."""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import tomli_w
from pydantic import TypeAdapter, ValidationError

from tetrad.errors import TetradError
from tetrad.methods import METHODS
from tetrad.methods.base import Method
from tetrad.methods.lora import Lora
from tetrad.recipe.option import settings
from tetrad.recipe.schema import Recipe


def read(path: Path) -> dict[str, Any]:
    """A recipe file's plain values.  E3001 where it is missing, E3002 where it is no TOML."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise TetradError("E3001", f"there is no recipe {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise TetradError("E3001", f"the recipe {path} cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise TetradError("E3002", f"the recipe {path} is no TOML: {error}") from error


def override(values: dict[str, Any], assignment: str) -> None:
    """Put one `section.key=value` into plain values; the value is TOML, or else text.  E3003 where it has no `=`."""
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise TetradError(
            "E3003", f"--set {assignment!r} has no value; write it as section.key=value, like train.steps=800"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    put(values, key.strip(), value)


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Put a value at `section.key`.  E3101 where a section is a plain value."""
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise TetradError("E3101", f"{key}: {section} is a value, not a section")
    values[last] = value


def built(values: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values; E3101: no such key, E3102: wrong type, E3103: out of range."""
    shapes = {**get_type_hints(Recipe), "method": method_of(values.get("method", {}))}
    for path, known in unknown_keys(values, Recipe, shapes):
        near = difflib.get_close_matches(path.split(".")[-1], known, n=1, cutoff=0.5)
        hint = (
            f"did you mean {'.'.join([*path.split('.')[:-1], near[0]])}?" if near else f"there are {', '.join(known)}"
        )
        raise TetradError("E3101", f"the recipe has no {path}; {hint}")
    given = {"method": {}, **values}
    return Recipe(**{key: validated(key, shapes[key], value) for key, value in given.items()})


def method_of(values: Any) -> type[Method]:
    """The settings that a recipe's method section is about, by its `kind`; a LoRA where it does not say."""
    if not isinstance(values, Mapping):
        raise TetradError("E3102", f"method is {values!r}, not a section; write method.rank and so on")
    kind = values.get("kind", Lora.kind)
    if not isinstance(kind, str) or kind not in METHODS:
        raise TetradError("E3103", f"method.kind must be one of {', '.join(METHODS)}; it is {kind!r}")
    return METHODS[kind]


def validated(key: str, shape: Any, value: Any) -> Any:
    """A section, or a value at the top, as its type.  E3102 where it is of another."""
    if isinstance(value, Mapping):
        hints = get_type_hints(shape) if is_dataclass(shape) else {}
        value = {name: listed(inner, hints.get(name)) for name, inner in value.items() if name != "kind"}
    try:
        return TypeAdapter(shape).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # Of a setting that may be of two types, pydantic adds which one it tried last; that is nobody's name for it.
        places = [str(place) for place in first["loc"] if place not in ("float", "str", "int")]
        message = f"{first['msg'][0].lower()}{first['msg'][1:]}".replace("'', ", "")
        message = message.replace("a valid dictionary", "a table, written as section.key.name=value")
        raise TetradError("E3102", f"{'.'.join([key, *places])} is {first['input']!r}: {message}") from error


def listed(value: Any, hint: Any) -> Any:
    """A single value where a setting is a list, as a list of one; of numbers also a text like "1, 2, 1"."""
    if get_origin(hint) is not tuple or isinstance(value, list | tuple):
        return value
    if isinstance(value, str) and get_args(hint)[0] is not str:
        return [item.strip() for item in value.split(",")]
    return [value]


def unknown_keys(
    values: Mapping[str, Any], shape: Any, shapes: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, list[str]]]:
    """Each key that a dataclass does not have, with the ones it has; `shapes` are the types of its fields."""
    known = [f.name for f in settings(shape)]
    for key, value in values.items():
        if key not in known and not (key == "kind" and hasattr(shape, "kind")):
            yield path + key, known
        elif isinstance(value, Mapping) and is_dataclass(inner := shapes.get(key)):
            yield from unknown_keys(value, inner, get_type_hints(inner), f"{path}{key}.")


def written(recipe: Recipe) -> str:
    """The recipe as TOML, whole, so that the file alone makes the same run; what is not set is left out."""
    return tomli_w.dumps(plain(recipe))


def plain(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": value.kind} if hasattr(value, "kind") else {}
    for f in settings(value):
        item = getattr(value, f.name)
        if item is not None:
            found[f.name] = plain(item) if is_dataclass(item) else item
    return found
