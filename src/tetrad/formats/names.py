"""How names are translated: a table of module paths, applied by the longest path that fits."""

from collections.abc import Iterable, Mapping


def renamed(names: Iterable[str], table: Mapping[str, str]) -> dict[str, str]:
    """Each name under its new path; a name that no path of the table begins is left out.

    The table holds whole module paths: "a.b" fits "a.b" and "a.b.weight", not "a.bc".
    """
    found = {}
    for name in names:
        path, tail = name, ""
        while path not in table and "." in path:
            path, _, last = path.rpartition(".")
            tail = f".{last}{tail}"
        if path in table:
            found[name] = table[path] + tail
    return found


def inverted(table: Mapping[str, str]) -> dict[str, str]:
    """The table read the other way; no two paths may share a translation."""
    back = {ours: theirs for theirs, ours in table.items()}
    assert len(back) == len(table), "two names with one translation"
    return back
