"""Checkpoint formats: a single file with LDM's tensor names, and a diffusers folder."""

from tetrad.errors import TetradError
from tetrad.formats import diffusers, ldm
from tetrad.formats.weight_files import WeightFile
from tetrad.locales import _
from tetrad.methods.base import Decoded, FileFormat, Metadata
from tetrad.models.base import Model
from tetrad.models.diffusers_folder import build_folder
from tetrad.models.families import FAMILIES, family_of
from tetrad.weights import Weights


def _encode_single_file(weights: Weights, model: Model, metadata: Metadata) -> WeightFile:
    """A checkpoint file of these weights, which are a whole model of this model's family."""
    about = {name: value for name, value in weights.metadata.items() if name != "tetrad.flags"}
    about |= {name: value for name, value in metadata.items() if name != "name"}
    return WeightFile(ldm.encode(weights, model.single_file), about)


def _encode_folder(weights: Weights, model: Model, metadata: Metadata) -> diffusers.Folder:
    return build_folder(model, weights)


def decode(file: WeightFile, model: Model) -> Decoded:
    """Read a whole checkpoint.  E5102 where it is of another family."""
    family = family_of(file.tensors)
    check_family(family, model)
    return ldm.decode(file.tensors, file.metadata, model.single_file), []


def check_family(family: str, model: Model) -> None:
    """E5102 where the checkpoint's family is not the model's."""
    if family != model.family:
        title = FAMILIES[family].family_title if family in FAMILIES else family
        raise TetradError(
            "E5102",
            _("this is a {found} checkpoint, but {model} is {family}; give a checkpoint of the same family"),
            found=title,
            model=model.name,
            family=model.family_title,
        )


FORMATS = {
    "ldm": FileFormat(".safetensors", _encode_single_file, decode),
    "diffusers": FileFormat("", _encode_folder, decode),
}
