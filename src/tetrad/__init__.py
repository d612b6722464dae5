"""Tetrad teaches Stable Diffusion something new from a folder of pictures.

In Python: `from tetrad import load, generate, train`, see docs/python.md.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

FROM_PYTHON = ("load", "generate", "train")


def __getattr__(name: str) -> Any:
    """The three verbs are found when they are asked for, so that the command line starts without torch."""
    if name in FROM_PYTHON:
        return getattr(import_module("tetrad.api"), name)
    raise AttributeError(f"module 'tetrad' has no attribute {name!r}")
