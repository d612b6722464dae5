"""Imports that cost as little as possible: fronts of packages that import a module late, and large libraries."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any


def export(package: str, modules: Mapping[str, Sequence[str]]) -> tuple[list[str], Callable[[str], Any]]:
    """`__all__` and `__getattr__` of a package that offers these names of these modules of its own (PEP 562)."""
    homes = {name: module for module, names in modules.items() for name in names}

    def get_attribute(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return sorted(homes), get_attribute


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Around imports of large libraries: their objects all stay, and garbage is never looked for among them.

    They are hundreds of thousands, and looking for it took a tenth of the time of a short command.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
