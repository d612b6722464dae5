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
    """Import large libraries without garbage collection, which then never examines what exists now (`gc.freeze`).

    These are hundreds of thousands of objects that all stay. Looking for garbage among them took a tenth of the time of
    a short command.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
