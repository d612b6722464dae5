"""A run, as frozen dataclasses, read strictly from TOML."""

from tetrad.recipe.loss import Loss
from tetrad.recipe.page import reference
from tetrad.recipe.schema import Data, Recipe, Sample, Save, Train
from tetrad.recipe.toml import built, override, put, read, written

__all__ = [
    "Data",
    "Loss",
    "Recipe",
    "Sample",
    "Save",
    "Train",
    "built",
    "override",
    "put",
    "read",
    "reference",
    "written",
]
