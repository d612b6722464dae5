"""Translation of tensor names by a table of module paths; the longest matching path wins."""

from collections.abc import Iterable, Mapping


def translate_names(names: Iterable[str], table: Mapping[str, str]) -> dict[str, str]:
    """Each name and its translation; names that start with no path of the table are left out.

    The table holds whole module paths: "a.b" matches "a.b" and "a.b.weight", but not "a.bc".
    """
    translated = {}
    for name in names:
        path, tail = name, ""
        while path not in table and "." in path:
            path, _dot, last = path.rpartition(".")
            tail = f".{last}{tail}"
        if path in table:
            translated[name] = table[path] + tail
    return translated


def invert_table(table: Mapping[str, str]) -> dict[str, str]:
    """The table with both sides swapped; no two paths may have the same translation."""
    inverse = {target: source for source, target in table.items()}
    assert len(inverse) == len(table), "two names with one translation"
    return inverse
