"""The front of each package says what the package offers: `__all__` in its `__init__`."""

import ast
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}
PACKAGES = sorted(name for name, path in MODULES.items() if path.name == "__init__.py" and name != "tetrad")


@cache
def imports() -> list[tuple[str, str, str]]:
    """Each name that a module imports from another one: the module, the other one, the name."""
    trees = {module: ast.parse(path.read_text("utf-8")) for module, path in MODULES.items()}
    found = ((module, node) for module, tree in trees.items() for node in ast.walk(tree))
    return [
        (module, str(node.module), alias.name)
        for module, node in found
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


def imports_from(package: str) -> set[str]:
    """The names that modules outside a package import from the modules inside it.

    A function with the name of its module is left out: the package already has the module by that name.
    """
    inside = f"{package}."
    names = {
        name
        for module, other, name in imports()
        if f"{other}.".startswith(inside) and not f"{module}.".startswith(inside) and f"{other}.{name}" not in MODULES
    }
    return {name for name in names if f"{package}.{name}" not in MODULES and not is_name_of_a_module(package, name)}


def is_name_of_a_module(package: str, name: str) -> bool:
    return any(module.startswith(f"{package}.") and module.split(".")[-1] == name for module in MODULES)


@pytest.mark.parametrize("package", PACKAGES)
def test_all_lists_what_other_packages_import(package: str) -> None:
    front = import_module(package)
    assert imports_from(package) <= set(getattr(front, "__all__", ()))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_of_all_exists(package: str) -> None:
    front = import_module(package)
    for name in getattr(front, "__all__", ()):
        getattr(front, name)


def test_a_name_that_a_package_does_not_offer_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        import_module("tetrad.diffusion").nothing  # noqa: B018
