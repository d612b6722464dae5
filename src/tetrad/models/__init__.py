"""The model families this program knows.  A new one is a file and a line here."""

from tetrad.models.base import Model
from tetrad.models.sd import StableDiffusion1, StableDiffusion2
from tetrad.models.sdxl import StableDiffusionXL

FAMILIES: dict[str, type[Model]] = {
    family.family: family for family in (StableDiffusion1, StableDiffusion2, StableDiffusionXL)
}
