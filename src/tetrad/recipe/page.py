"""docs/settings.md: every setting there is, from the schema itself."""

from collections.abc import Iterable, Iterator
from dataclasses import MISSING, is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from tetrad.methods import METHODS
from tetrad.recipe.option import settings
from tetrad.recipe.schema import Recipe

HEAD = """# Every setting

In a recipe (`--recipe run.toml`) the part before the dot is a section; on the command line any of them is
`--set key=value`. The names in brackets are kohya's.
"""


def reference() -> str:
    """The whole page: what every run has, then what each method has of its own."""
    tables = [table(options(Recipe))]
    for kind, method in METHODS.items():
        tables.append(f'## `method.kind = "{kind}"`\n\n{table(options(method, "method."))}')
    return "\n".join([HEAD, *tables])


def table(rows: Iterable[tuple[str, str, Any, str]]) -> str:
    cells = ((f"`{key}`", kind, shown(default), sentence.replace("|", r"\|")) for key, kind, default, sentence in rows)
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join(["| setting | type | default | meaning |", "| --- | --- | --- | --- |", *lines]) + "\n"


def shown(default: Any) -> str:
    """A default as it stands in TOML."""
    if default in (None, "", (), {}):
        return "not given"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def options(shape: Any, path: str = "") -> Iterator[tuple[str, str, Any, str]]:
    """Every setting of a dataclass and of those inside it: its key, its type, its default, its sentence."""
    hints = get_type_hints(shape)
    for f in settings(shape):
        if is_dataclass(hints[f.name]):
            yield from options(hints[f.name], f"{path}{f.name}.")
        elif "help" in f.metadata:
            default = f.default if f.default is not MISSING else None
            yield path + f.name, type_name(hints[f.name]), default, f.metadata["help"]


def type_name(hint: Any) -> str:
    kinds = [kind for kind in get_args(hint) if kind not in (NoneType, Ellipsis, "")]
    names = [str(getattr(kind, "__name__", kind)) for kind in kinds] or [str(hint.__name__)]
    if get_origin(hint) is dict:
        return f"table of {names[-1]}"
    return f"list of {names[0]}" if get_origin(hint) is tuple else " or ".join(names)
