"""The type of a recipe's method: the union of all methods' settings, distinguished by `kind`."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tetrad.methods import METHODS
from tetrad.methods.settings import MethodSettings

DEFAULT = "lora"

if TYPE_CHECKING:
    AnyMethod = MethodSettings
else:
    AnyMethod = Annotated[reduce(or_, METHODS.values()), Field(discriminator="kind")]


def default_method() -> MethodSettings:
    return METHODS[DEFAULT]()
