"""Compile the translations when the package is built; the rest of the build is in pyproject.toml."""

from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel


def compile_catalogues() -> None:
    """Write a `tetrad.mo` next to each `tetrad.po`."""
    for source in Path("src/tetrad/locales").glob("*/LC_MESSAGES/tetrad.po"):
        with source.open("rb") as lines, source.with_suffix(".mo").open("wb") as target:
            write_mo(target, read_po(lines))


class BuildWithCatalogues(build_py):
    def run(self) -> None:
        compile_catalogues()
        super().run()


class EditableWithCatalogues(editable_wheel):
    def run(self) -> None:
        compile_catalogues()
        super().run()


setup(cmdclass={"build_py": BuildWithCatalogues, "editable_wheel": EditableWithCatalogues})
