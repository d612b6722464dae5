"""Fronts of packages that import a module only when one of its names is used."""

from collections.abc import Callable, Mapping, Sequence
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
