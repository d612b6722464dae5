"""The one door for JSON, TOML and YAML that other programs write: size, depth, digits and letters are checked."""

import errno
import json
import os
import re
import stat
import tomllib
from collections.abc import Callable
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from tetrad.locales import Message, _

MAX_DOCUMENT_BYTES = 10_000_000
_MAX_DEPTH = 64
_MAX_INTEGER = 2**63  # of TOML, and of any program that is not Python
# A key of many parts costs tomllib memory that grows with the square of their number. Keys stand at these places.
_KEY_PART = r"""(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+"""
_ENDLESS_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*+(?:{_KEY_PART}\.[ \t]*+){{{_MAX_DEPTH}}}", re.MULTILINE)
_YAML_FLOAT = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?$")  # plain YAML 1.1 takes 1e-4 for text
_TOML_PLACE, _TOML_END = re.compile(r"(.*) \(at line (\d+), column (\d+)\)", re.DOTALL), re.compile(r" \(at [^()]*\)$")
_TOO_LONG_NUMBER = Message(_("it has a number of more than 18 digits"))
_TOO_DEEP = Message(_("it is nested more than {limit} levels deep"), limit=_MAX_DEPTH)


class BadDocument(ValueError):
    """A text that is no JSON or no TOML: the problem, as Python words it, and its place."""

    def __init__(self, problem: str, line: int, column: int) -> None:
        template = _("{problem}, at line {line}, column {column}")
        super().__init__(Message(template, problem=problem, line=line, column=column))
        self.problem, self.line, self.column = problem, line, column


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading.  OSError for anything else of this name, such as a pipe, which might never end."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, _("Not a regular file"), str(path))
    return os.fdopen(descriptor, "rb")


def read_stored_values(path: Path) -> dict[str, Any]:
    """The values of a JSON or TOML file that a program keeps; empty where there is none, or it is damaged."""
    try:
        with open_regular(path) as file:
            text = _read_text(file, MAX_DOCUMENT_BYTES)
        values = (parse_toml if path.suffix == ".toml" else parse_json)(text)
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def read_text_file(path: Path, max_bytes: int = MAX_DOCUMENT_BYTES) -> str:
    """A text file in UTF-8, with or without a byte order mark.  OSError, or ValueError if it is too large."""
    with path.open("rb") as file:
        return _read_text(file, max_bytes)


def _read_text(file: BinaryIO, max_bytes: int) -> str:
    content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(Message(_("it has more than {limit:,} bytes"), limit=max_bytes))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(Message(_("it is not in UTF-8; save it as UTF-8"))) from error


def parse_json(text: str, object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The value of a JSON text.  ValueError for text that is no JSON, too deep, or has a number of too many digits."""
    try:
        value = json.loads(text, object_pairs_hook=object_pairs_hook, parse_int=_parse_integer)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except json.JSONDecodeError as error:
        raise BadDocument(error.msg, error.lineno, error.colno) from error
    return _tidy(value, 0)


def parse_toml(text: str) -> dict[str, Any]:
    """The values of a TOML text.  ValueError for text that is no TOML, too deep, or has a number of too many digits."""
    if _ENDLESS_KEY.search(text):
        raise ValueError(Message(_("it has a key of more than {limit} parts"), limit=_MAX_DEPTH))
    try:
        value = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except tomllib.TOMLDecodeError as error:
        if place := _TOML_PLACE.fullmatch(str(error)):
            raise BadDocument(place[1], int(place[2]), int(place[3])) from error
        raise ValueError(Message(_("{problem}, at its end"), problem=_TOML_END.sub("", str(error)))) from error
    except ValueError as error:  # Python's own limit for the digits of a whole number
        raise ValueError(_TOO_LONG_NUMBER) from error
    tidy: dict[str, Any] = _tidy(value, 0)
    return tidy


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.  ValueError for text that is no YAML, has references, or is too deep.

    References (`*name`) can make a small text endless, so they are not read. 1e-4 is a number, as people mean it.
    """
    import yaml

    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError(Message(_("it has references (*name), which are not read")))
        value = yaml.load(text, _yaml_loader())
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except yaml.YAMLError as error:
        raise ValueError(error) from error
    return _tidy(value, 0)


@cache
def _yaml_loader() -> Any:
    """The safe loader, which makes plain values only, with numbers as YAML 1.2 has them."""
    import yaml

    loader: Any = type(
        "Loader", (yaml.SafeLoader,), {"yaml_implicit_resolvers": dict(yaml.SafeLoader.yaml_implicit_resolvers)}
    )
    for first in "+-.0123456789":
        resolvers = loader.yaml_implicit_resolvers.get(first, [])
        loader.yaml_implicit_resolvers[first] = [("tag:yaml.org,2002:float", _YAML_FLOAT), *resolvers]
    return loader


def writable(text: str) -> str:
    """The text with U+FFFD for half characters (surrogates), which no file can hold."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _parse_integer(digits: str) -> int | float:
    """A whole number; of "-0", as most readers of JSON do, one that is none."""
    try:
        return -0.0 if digits == "-0" else int(digits)
    except ValueError as error:  # Python's own limit for the digits of a whole number
        raise ValueError(_TOO_LONG_NUMBER) from error


def _tidy(value: Any, depth: int) -> Any:
    """The same value with writable texts; ValueError where it is too deep or a whole number is too large."""
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
        raise ValueError(_TOO_LONG_NUMBER)
    if not isinstance(value, dict | list):
        return value
    if depth == _MAX_DEPTH:
        raise ValueError(_TOO_DEEP)
    if isinstance(value, list):
        return [_tidy(item, depth + 1) for item in value]
    return {writable(key): _tidy(item, depth + 1) for key, item in value.items()}
