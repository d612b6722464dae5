"""Patterns that name several files, such as `shards-{000..099}.tar` and `shards-*.tar`."""

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from glob import has_magic
from itertools import islice, product

_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{},]*(?:,[^{},]*)+))\}")  # {000..099} or {a,b}
_MAX_EXPANDED = 100_000


def has_pattern(text: str) -> bool:
    """Whether a text has braces, `*`, `?` or `[a-c]` that stand for several names."""
    return has_magic(text) or _BRACES.search(text) is not None


def names_several(name: str) -> bool:
    """Whether the last part of an address stands for several files; `[1]` is part of a name there."""
    return has_pattern(name.replace("[", ""))


def expand_braces(text: str) -> Iterator[str]:
    """The texts that `{000..099}` and `{a,b}` stand for, in order; other patterns in them stay."""
    parts: list[list[str]] = []
    begin = 0
    for braces in _BRACES.finditer(text):
        parts += [[text[begin : braces.start()]], _list_alternatives(braces)]
        begin = braces.end()
    parts.append([text[begin:]])
    return map("".join, islice(product(*parts), _MAX_EXPANDED))


def select_matching(names: Iterable[str], pattern: str) -> set[str]:
    """The names that a pattern stands for."""
    known, wanted = set(names), list(expand_braces(pattern))
    exact = known & set(wanted)
    return exact | {name for each in wanted if has_magic(each) for name in known if fnmatchcase(name, each)}


def _list_alternatives(braces: re.Match[str]) -> list[str]:
    first, last, names = braces.groups()
    if names is not None:
        return names.split(",")
    return [str(number).zfill(len(first)) for number in islice(range(int(first), int(last) + 1), _MAX_EXPANDED)]
