"""The model families, and which of them a file is of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tetrad.models.sd import StableDiffusion1, StableDiffusion2
from tetrad.models.sdxl import StableDiffusionXL

if TYPE_CHECKING:
    from tetrad.models.base import Model

# If the files of a family also contain tensor names of another, it comes after that one.
FAMILIES: dict[str, type[Model]] = {
    family.family: family for family in (StableDiffusion1, StableDiffusion2, StableDiffusionXL)
}


def family_of(names: Iterable[str]) -> str:
    """The family of a single-file checkpoint with these tensor names; "" if it is not a checkpoint."""
    names = list(names)
    families = reversed(FAMILIES.items())
    return next((family for family, each in families if any(n.startswith(each.signature) for n in names)), "")
